"""A page that is complete in itself: no script, no request, one style sheet that its content policy names by its hash.

The frame (``templates/base.html``, ``base.css``) is shared by all pages that are kept. Whatever a template puts into a page is
made harmless (control and format characters are written as escapes, API keys are masked) and escaped.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_gemini_batch import __version__
from airflow_gemini_batch.engine.report.excerpts import printable_lines

if TYPE_CHECKING:
    from jinja2 import Template

#: How much of each text and of each list is shown, from all that is planned for to next to nothing.
DETAILS = (1.0, 0.5, 0.2, 0.05)

_SHARED = Path(__file__).parent / "templates"


@dataclass(frozen=True, eq=False)
class HtmlPage:
    """
    :param template: name of a template that extends ``base.html``.
    :param style: name of the style sheet that follows ``base.css``.
    :param filters: what the template says with functions of these names.
    :param folder: where both are; the shared templates are found from everywhere.
    """

    template: str
    style: str
    filters: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    folder: Path = _SHARED

    def draw(self, **values: Any) -> bytes:
        """The page, in UTF-8."""
        html = self._template.render(**values, style=self._css, style_hash=self._css_hash, version=__version__)
        return html.encode()

    @functools.cached_property
    def _css(self) -> str:
        return (_SHARED / "base.css").read_text(encoding="utf-8") + (self.folder / self.style).read_text(encoding="utf-8")

    @functools.cached_property
    def _css_hash(self) -> str:
        return base64.b64encode(hashlib.sha256(self._css.encode()).digest()).decode()

    @functools.cached_property
    def _template(self) -> Template:
        # Jinja2 takes a while to import, and most passes draw nothing.
        from jinja2 import Environment, FileSystemLoader, StrictUndefined

        environment = Environment(
            loader=FileSystemLoader([self.folder, _SHARED]),
            autoescape=True,
            finalize=_harmless,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters.update(self.filters)
        return environment.get_template(self.template)


def first_that_fits(pages: Iterable[bytes], most_bytes: int) -> bytes:
    """The first page that is not larger, or else the last one. Those after it are not drawn."""
    page = b""
    for page in pages:
        if len(page) <= most_bytes:
            break
    return page


def _harmless(value: Any) -> Any:
    """What goes into the page, before it is escaped: without what would act on it, wherever it comes from."""
    return printable_lines(value) if type(value) is str else value
