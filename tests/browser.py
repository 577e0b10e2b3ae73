"""A person at a real browser, and the errors that the browser reports."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, Self

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, Response, expect, sync_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_RULES = {"resultTypes": ["violations"], "rules": {"target-size": {"enabled": True}}}
_MOST_TABS = 50
_FOCUS = """wanted => {
  const box = document.activeElement.getBoundingClientRect(), style = getComputedStyle(document.activeElement);
  const inside = box.width > 0 && box.left >= 0 && box.top < innerHeight && box.bottom > 0;
  const visible = inside && style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
  return [document.activeElement === wanted, visible, document.activeElement.outerHTML];
}"""

expect.set_options(timeout=15_000)


class Display(NamedTuple):
    """A screen size and a color scheme."""

    width: int
    height: int
    scheme: str

    def __str__(self) -> str:
        return f"{self.width} {self.scheme}"


DISPLAYS = [
    Display(width, height, scheme) for width, height in ((1280, 900), (390, 844)) for scheme in ("light", "dark")
]


def find() -> str:
    """Return the path of Chromium; empty if it is not installed."""
    return os.environ.get("CHROMIUM_PATH") or next(filter(None, map(shutil.which, _NAMES)), "")


@contextmanager
def running(path: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=_OPTIONS)
        yield browser
        browser.close()


def _page(browser: Browser) -> Page:
    """Return the page that the last visitor left, because a new one costs a second; a failed visit closes it."""
    if browser.contexts:
        return browser.contexts[0].pages[0]
    return browser.new_page(locale="en-US", timezone_id="America/New_York")


class Visitor:
    """A person who visits the pages."""

    def __init__(self, browser: Browser, home: str, display: Display = DISPLAYS[0]) -> None:
        self.home = home
        self.page = _page(browser)
        self.look_with(display)
        self.errors: list[str] = []
        self.requests: list[str] = []
        self._listeners = {
            "console": lambda message: self.errors.append(message.text),
            "pageerror": lambda error: self.errors.append(str(error)),
            "request": lambda request: self.requests.append(request.url),
            "dialog": self._refuse,
        }
        for name, listener in self._listeners.items():
            self.page.on(name, listener)

    def _refuse(self, dialog: object) -> None:
        self.errors.append(f"a dialog: {dialog.message}")
        dialog.dismiss()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind:
            self.page.context.close()
        else:
            self.page.goto("about:blank")
            for name, listener in self._listeners.items():
                self.page.remove_listener(name, listener)
            assert self.errors == []
            assert [url for url in self.requests if not url.startswith((self.home, "data:"))] == []

    def open(self, path: str) -> Response:
        return self.page.goto(self.home + path)

    def was_answered(self, status: int) -> None:
        """Expect the browser's error about this status."""
        assert f"status of {status}" in self.errors.pop()

    def tab_to(self, wanted: Locator, key: str = "Tab") -> None:
        """Press Tab, or Shift+Tab, until the element has the focus; the focus is visible at each step."""
        element = wanted.element_handle()
        for _ in range(_MOST_TABS):
            self.press(key)
            found, visible, focused = element.evaluate(_FOCUS)
            assert visible, focused
            if found:
                return
        raise AssertionError(f"{key} does not reach {wanted}")

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def unfold(self) -> None:
        """Show all that the page folds."""
        self.page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true; })")

    def look_with(self, display: Display) -> None:
        self.page.set_viewport_size({"width": display.width, "height": display.height})
        self.page.emulate_media(color_scheme=display.scheme)

    def barriers(self) -> list[tuple[str, str]]:
        """Return the accessibility problems that axe finds, each with its element."""
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(Axe().axe_script)
        found = self.page.evaluate("options => axe.run(options)", _RULES)["violations"]
        return [(rule["id"], node["html"]) for rule in found for node in rule["nodes"]]

    def scrolls_sideways(self, width: int) -> bool:
        self.page.set_viewport_size({"width": width, "height": 800})
        return bool(self.page.evaluate("document.documentElement.scrollWidth > innerWidth"))
