"""Pages of the site that are files of the repository, and links that lead to them.

Pages link to each other and to files of the repository as they lie there, so that links work in a checkout too. In the site each
file that is linked becomes a page of its own, and the README becomes the start page. A link that leads nowhere fails the build.
"""

from __future__ import annotations

import logging
import posixpath
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
NAMED = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}

_FENCED = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^()\s]+)\)")
# Warnings of this logger are errors with --strict.
_log = logging.getLogger("mkdocs.hooks.repository")


def on_files(files: Files, config: Any) -> Files:
    """Adds the files that pages link to, and those that these link to."""
    waiting = [*NAMED, *(f"docs/{file.src_uri}" for file in files.documentation_pages())]
    seen = set(waiting)
    while waiting:
        path = waiting.pop()
        if not path.startswith("docs/"):
            files.append(File.generated(config, _page_of(path), content=_content_of(path)))
        if path.endswith(".md"):
            linked = {target for link in _links_in((ROOT / path).read_text("utf-8")) if (target := _path_of(link, path))}
            new = {target for target in linked - seen if not target.startswith("docs/") and (ROOT / target).is_file()}
            seen |= new
            waiting.extend(sorted(new))
    return files


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """The page's text, with links as the site needs them."""
    origins = {name: path for path, name in NAMED.items()}
    uri = page.file.src_uri
    origin = origins.get(uri) or (uri.removeprefix("repository/") if uri.startswith("repository/") else f"docs/{uri}")
    if not origin.endswith(".md") or origin.endswith(".py.md"):
        return markdown

    def rewritten(match: re.Match[str]) -> str:
        link = match[1]
        target = _path_of(link, origin)
        if target is None:
            if not _is_well_formed(link):
                _log.warning("%s links to %r, which is not a URL", origin, link)
            return match[0]
        if not (ROOT / target).is_file():
            _log.warning("%s links to %s, which is not a file of the repository", origin, link)
            return match[0]
        place = target.removeprefix("docs/") if target.startswith("docs/") else _page_of(target)
        anchor = link.partition("#")[2]
        return f"]({posixpath.relpath(place, posixpath.dirname(uri) or '.')}{'#' if anchor else ''}{anchor})"

    return "".join(part if part.startswith("```") else _LINK.sub(rewritten, part) for part in _FENCED.split(markdown))


def _links_in(text: str) -> list[str]:
    return [link for part in _FENCED.split(text) if not part.startswith("```") for link in _LINK.findall(part)]


def _path_of(link: str, origin: str) -> str | None:
    """What a link of a file leads to, from the root of the repository; None for an anchor and for a URL."""
    if link.startswith("#") or ":" in link.partition("/")[0]:
        return None
    return posixpath.normpath(posixpath.join(posixpath.dirname(origin), link.partition("#")[0]))


def _is_well_formed(link: str) -> bool:
    if link.startswith("#"):
        return True  # anchors are checked by MkDocs
    try:
        url = urlsplit(link)
        return url.scheme in {"http", "https"} and bool(url.hostname) and (url.port or 1) > 0
    except ValueError:
        return False


def _page_of(path: str) -> str:
    return NAMED.get(path) or f"repository/{path if path.endswith('.md') else f'{path}.md'}"


def _content_of(path: str) -> str:
    text = (ROOT / path).read_text("utf-8")
    return text if path.endswith(".md") else f"# {path}\n\n````{Path(path).suffix[1:]}\n{text}\n````\n"
