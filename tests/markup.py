"""What a page that is kept consists of, and that nothing in it can act."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import re

#: What must never become markup, act on a terminal, or change the direction of what stands beside it.
EVIL = (
    '</style></script><script>alert(1)</script><img src=x onerror=alert(2)>"\'><a href="javascript:alert(3)">\x1b[31m\u202e\x00'
)


class Markup(html.parser.HTMLParser):
    """Every element, with its attributes, and the texts between them."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return "".join(self.texts)


def require_harmless(page: bytes, most_bytes: int) -> Markup:
    """No element that acts or asks for anything, no control character, and not too large."""
    markup = Markup(page)
    assert len(page) <= most_bytes
    tags = {tag for tag, _ in markup.elements}
    assert not tags & {"script", "img", "iframe", "object", "embed", "base", "form", "input"}
    for tag, attributes in markup.elements:
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        if tag == "a":
            assert str(attributes["href"]).startswith("#")
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", page.decode())
    return markup


def require_self_contained(page: bytes) -> None:
    """One style sheet, which the content policy names by its hash, and nothing else."""
    markup, text = Markup(page), page.decode()
    [policy] = [str(each["content"]) for tag, each in markup.elements if each.get("http-equiv") == "Content-Security-Policy"]
    [style] = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    assert [str(each["href"])[:5] for tag, each in markup.elements if tag == "link"] == ["data:"]
    assert not re.search(r"url\(|@import", style)
    assert "prefers-reduced-motion" in style
