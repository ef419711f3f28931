"""A headless Chromium for tests that look at pages. Where there is none they are skipped, or fail with REQUIRE_CHROMIUM."""

from __future__ import annotations

import contextlib
import http.server
import os
import re
import shutil
import threading
from collections.abc import Iterator
from typing import Any

import pytest

#: The program: what ``CHROMIUM`` names in the environment, or the first one on the path.
CHROMIUM = os.environ.get("CHROMIUM") or next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """Playwright's ``Browser``, until the block ends."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    if not CHROMIUM:
        if os.environ.get("REQUIRE_CHROMIUM"):
            pytest.fail("REQUIRE_CHROMIUM is set and there is no Chromium: install it, or name it in CHROMIUM.")
        pytest.skip("needs Chromium")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


class Look:
    """A page as one reader sees it, with what the browser says of it.

    With ``SCREENSHOTS`` in the environment, pictures for the documentation are put into the folder that it names.
    """

    def __init__(self, browser: Any, address: str, *, width: int = 1180, theme: str = "light") -> None:
        self.width, self.theme = width, theme
        self.asked: list[str] = []
        self.complaints: list[str] = []
        context = browser.new_context(viewport={"width": width, "height": 1000}, color_scheme=theme, reduced_motion="reduce")
        self.page = context.new_page()
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(address, wait_until="load")

    def require_quiet(self, address: str) -> None:
        """It asked for nothing but itself, the browser has no complaint, it is as wide as the screen, and the theme is seen."""
        assert self.asked == [address]
        assert self.complaints == []
        assert self.page.evaluate("document.documentElement.scrollWidth") == self.width
        background = self.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (int(re.findall(r"\d+", background)[0]) < 60) == (self.theme == "dark"), background

    def take_picture(self, name: str) -> None:
        if folder := os.environ.get("SCREENSHOTS"):
            self.page.screenshot(path=f"{folder}/{name}.png")


#: Name, width and theme of the screens that a page is looked at on.
SCREENS = (("light", 1180, "light"), ("dark", 1180, "dark"), ("phone", 390, "light"), ("narrow", 320, "dark"))


@contextlib.contextmanager
def serving(content: bytes, policy: str) -> Iterator[str]:
    """The address of a page that is served with this content policy, until the block ends."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Security-Policy", policy)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
