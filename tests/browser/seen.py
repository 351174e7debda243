"""What is wrong with a page: what the browser complains of, what axe finds, its weight, its width, its focus."""

from typing import Any
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Request, Response

__all__ = ["HEAVIEST", "NARROW", "WIDE", "Watch", "accessible", "focused", "narrow"]

HEAVIEST = 200_000
WIDE = {"width": 1280, "height": 900}
NARROW = {"width": 360, "height": 740}
_axe = Axe()
_MOST_STOPS = 600

_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
# How many things can be focused and seen.
_STOPS = """() => {
  const seen = each => each.type !== 'hidden' && !each.disabled && each.checkVisibility({visibilityProperty: true});
  return [...document.querySelectorAll('a[href], button, input, select, textarea, summary')].filter(seen).length;
}"""
_FOCUS = """() => {
  const at = document.activeElement;
  if (!at || at === document.body) return null;
  const style = getComputedStyle(at), box = at.getBoundingClientRect();
  const ring = (style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0) || style.boxShadow !== 'none';
  const inside = box.width > 0 && box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
  const stop = at.matches('a[href], button, input, select, textarea, summary');
  return {name: at.outerHTML.slice(0, 120), ring, inside, stop};
}"""
_TOO_WIDE = """() => {
  const most = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= most) return [];
  const scrolls = each => each && (getComputedStyle(each).overflowX !== 'visible' || scrolls(each.parentElement));
  return [...document.querySelectorAll('main *, header *, footer *')]
    .filter(each => each.getBoundingClientRect().right > most + 1 && !scrolls(each.parentElement))
    .slice(0, 5).map(each => each.outerHTML.slice(0, 120));
}"""


class Watch:
    """Notes what the browser complains of in a context, and what it asks of anybody else than `url`."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self._origin = urlsplit(url)[:2]
        self._found: list[str] = []
        # Statuses that a case provokes.
        self.expected: frozenset[int] = frozenset()
        context.on("console", self._console)
        context.on("weberror", lambda error: self._found.append(f"a script failed: {error.error}"))
        context.on("request", self._request)
        context.on("response", self._response)
        context.on("requestfailed", self._failed)

    def faults(self) -> list[str]:
        """What was noted since the last call."""
        found, self._found = self._found, []
        return found

    def _console(self, said: ConsoleMessage) -> None:
        if said.type in ("error", "warning") and not any(f"status of {code}" in said.text for code in self.expected):
            self._found.append(f"the console says: {said.text}")

    def _request(self, sent: Request) -> None:
        if urlsplit(sent.url)[:2] != self._origin:
            self._found.append(f"a request to elsewhere: {sent.url}")

    def _failed(self, sent: Request) -> None:
        if sent.failure != "net::ERR_ABORTED":  # what a page was still loading when it was left
            self._found.append(f"{sent.url} failed: {sent.failure}")

    def _response(self, got: Response) -> None:
        if got.status >= 400 and got.status not in self.expected:
            self._found.append(f"{got.url} answered {got.status}")


def accessible(page: Page, *rules: str) -> list[str]:
    """What axe finds, by these rules or by all of WCAG 2.2 AA and its own advice."""
    only: dict[str, Any] = {"type": "rule", "values": list(rules)} if rules else {"type": "tag", "values": _RULES}
    found = _axe.run(page, options={"resultTypes": ["violations"], "runOnly": only}).response["violations"]
    return [
        f"axe {each['id']} ({each['impact']}): {node['html'][:200]}: {node['failureSummary'].splitlines()[-1].strip()}"
        for each in found
        for node in each["nodes"][:3]
    ]


def narrow(page: Page) -> list[str]:
    """What makes the page wider than the window."""
    return [f"wider than the window: {each}" for each in page.evaluate(_TOO_WIDE)]


def focused(page: Page) -> list[str]:
    """What a walk by the Tab key misses, or where nobody sees where it is."""
    wanted: int = page.evaluate(_STOPS)
    stops, found = 0, []
    page.evaluate("() => { document.activeElement?.blur(); scrollTo(0, 0); }")
    for _ in range(_MOST_STOPS):
        page.keyboard.press("Tab")
        at = page.evaluate(_FOCUS)
        if at is None:
            break
        stops += at["stop"]
        if not at["ring"]:
            found.append(f"no ring around the focus: {at['name']}")
        if not at["inside"]:
            found.append(f"the focus is out of sight: {at['name']}")
    if stops < wanted:
        found.append(f"the Tab key reaches {stops} of {wanted} links, buttons and fields")
    return found
