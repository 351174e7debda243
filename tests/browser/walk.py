"""A walk through the console in headless Chromium: python -m tests.browser.walk, with what it needs as JSON on stdin.

It runs in the environment that tests/browser/requirements.lock pins. Ends with a line "N passed, 0 failed".
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser.seen import HEAVIEST, NARROW, WIDE, Watch, accessible, focused, narrow

PATIENCE_MS = 20_000
# Of what is measured in the browser: from the request to the first byte of the answer.
_SERVER_MS = (
    "() => { const t = performance.getEntriesByType('navigation')[0]; return t.responseStart - t.requestStart; }"
)
_NEW_USER = "somebody-new"


class Scene:
    """The browser, the service at `url`, the `keys` by role, and the `pages` by name."""

    def __init__(self, browser: Browser, told: dict[str, Any]) -> None:
        self.browser = browser
        self.url: str = told["url"]
        self.keys: dict[str, str] = told["keys"]
        self.pages: dict[str, str] = told["pages"]
        self.loop: str = told["loop"]
        self.challenger: str = told["challenger"]

    @contextmanager
    def visit(self, role: str | None, **options: Any) -> Iterator[tuple[Page, Watch]]:
        """A browser of its own, signed in with the key of `role`; fails for what it complains of."""
        with self.browser.new_context(**{"viewport": WIDE, "reduced_motion": "reduce", **options}) as context:
            context.set_default_timeout(PATIENCE_MS)
            watch = Watch(context, self.url)
            page = context.new_page()
            if role is not None:
                self.sign_in(page, self.keys[role])
                page.get_by_role("button", name="Sign out").wait_for()
            yield page, watch
            faults = watch.faults()
            assert not faults, "\n".join(faults)

    def sign_in(self, page: Page, key: str) -> None:
        page.goto(f"{self.url}/console")
        page.get_by_label("API key").fill(key)
        page.get_by_role("button", name="Sign in").click()

    def open(self, page: Page, path: str) -> tuple[int, int, float]:
        """Go to a page: the status, the bytes, and the milliseconds of the service."""
        answer = page.goto(f"{self.url}{path}")
        assert answer is not None
        return answer.status, len(answer.body()), page.evaluate(_SERVER_MS)


# The cases: each says in a sentence what must be so


def signing_in(scene: Scene) -> str:
    """Without a session every page asks for a key; a wrong one and a client's are refused, and signing out ends it."""
    with scene.visit(None) as (page, watch):
        watch.expected = frozenset({401, 403})
        for path in scene.pages.values():
            page.goto(f"{scene.url}{path}")
            expect(page.get_by_label("API key")).to_be_visible()
        assert accessible(page) == []
        for key in ("not-a-key", scene.keys["client"]):
            scene.sign_in(page, key)
            expect(page.get_by_role("alert")).to_be_visible()
            assert key not in page.content()
        scene.sign_in(page, scene.keys["reader"])
        page.get_by_role("button", name="Sign out").wait_for()
        cookies = page.context.cookies()
        assert [(each["httpOnly"], each["sameSite"]) for each in cookies] == [(True, "Strict")], cookies
        assert scene.keys["reader"] not in str(cookies)
        page.get_by_role("button", name="Sign out").click()
        page.goto(f"{scene.url}/console")
        expect(page.get_by_label("API key")).to_be_visible()
    return ""


def pages(scene: Scene) -> str:
    """Every page is light, calm in the browser, without a fault of accessibility in light and dark, on a phone and by
    keyboard."""
    lines, faults = [], []
    with scene.visit("admin") as (page, watch):
        for name, path in scene.pages.items():
            wanted = 404 if name.endswith("unknown") else 200
            watch.expected = frozenset({wanted})
            status, size, ms = scene.open(page, path)
            found = [] if status == wanted else [f"status {status}"]
            found += [] if size <= HEAVIEST else [f"{size:,} bytes"]
            found += accessible(page) + focused(page)
            page.emulate_media(color_scheme="dark")
            found += accessible(page, "color-contrast")
            page.emulate_media(color_scheme="light")
            page.set_viewport_size(NARROW)
            found += narrow(page) + accessible(page, "target-size", "scrollable-region-focusable")
            page.set_viewport_size(WIDE)
            faults += [f"{name}: {each}" for each in found + watch.faults()]
            lines.append(f"        {name:<20} {size / 1000:6.1f} kB {ms:6.1f} ms\n")
    assert not faults, "\n".join(faults)
    return "".join(lines)


def promoting(scene: Scene) -> str:
    """An admin makes a challenger the canary, sees it serve, and takes it back with a reason that the audit keeps."""
    reason = "the numbers of the morning look odd"
    with scene.visit("admin") as (page, _):
        page.goto(f"{scene.url}/console/loops/{scene.loop}")
        card = page.locator(".card").filter(has=page.get_by_role("heading", name=scene.challenger))
        rung = card.locator(".rung").filter(has_text="Serve as a canary")
        if not rung.get_by_role("button").is_visible():
            # The evidence does not allow it, and the browser does not send a form that lacks its reason.
            rung.locator("summary").click()
            rung.get_by_role("button").click()
            rung.get_by_label("Because").fill("to see whether it holds")
        rung.get_by_role("button").click()
        page.get_by_role("status").wait_for()
        assert scene.challenger in page.locator(".figures").first.inner_text()
        assert accessible(page) == []
        back = page.locator(".rung").filter(has_text="Undo the last change")
        back.get_by_label("Because").fill(reason)
        back.get_by_role("button").click()
        page.get_by_text("none", exact=True).first.wait_for()
        expect(page.locator("main")).to_contain_text(reason)
    return ""


def readers_only_look(scene: Scene) -> str:
    """A reader sees who serves, and has no button that changes it."""
    with scene.visit("reader") as (page, _):
        page.goto(f"{scene.url}/console/loops/{scene.loop}")
        expect(page.locator("main")).to_contain_text(scene.challenger)
        assert page.locator("main button").count() == 0
    return ""


def trying(scene: Scene) -> str:
    """A request that is edited gets another decision at once, without leaving the page; nothing of it is kept."""
    with scene.visit("reader") as (page, watch):
        watch.expected = frozenset({422})
        page.goto(f"{scene.url}/console/try?user={scene.pages['user'].rpartition('/')[2]}&loop={scene.loop}")
        result = page.locator("#result")
        before = result.inner_text()
        page.evaluate("() => { window.same = true; }")
        page.get_by_label("User id").fill(_NEW_USER)
        expect(result).not_to_have_text(before, use_inner_text=True)
        assert page.evaluate("() => window.same")
        page.get_by_role("button", name="Edit as JSON").click()
        page.get_by_label("The request").fill("{")
        expect(result.get_by_role("alert")).to_be_visible()
        page.goto(f"{scene.url}/console/users/{_NEW_USER}")
        expect(page.locator("main")).to_contain_text("No policy knows this user yet")
    return ""


CASES: list[Callable[[Scene], str]] = [signing_in, pages, readers_only_look, trying, promoting]


def tried(case: Callable[[Scene], str], scene: Scene) -> bool:
    """Whether a case passed; says so, with what it measured."""
    said = " ".join((case.__doc__ or "").split())
    try:
        measured = case(scene)
    except Exception as error:  # noqa: BLE001  # also of the browser: the other cases go on
        print(f"FAILED  {said}\n{type(error).__name__}: {error}", flush=True)
        return False
    print(f"ok      {said}\n{measured}", end="", flush=True)
    return True


def main() -> int:
    started = time.monotonic()
    told = json.load(sys.stdin)
    with sync_playwright() as play:
        options = ["--no-sandbox"] if os.geteuid() == 0 else []  # in a container, Chromium cannot make its sandbox
        browser = play.chromium.launch(executable_path=told["chromium"], args=options)
        scene = Scene(browser, told)
        if told["pictures"]:
            pictures(scene, Path(told["pictures"]))
            return 0
        passed = sum([tried(case, scene) for case in CASES])
        browser.close()
    print(f"{passed} passed, {len(CASES) - passed} failed in {time.monotonic() - started:.0f} s")
    return 0 if passed == len(CASES) else 1


# Pictures

LOOKS: dict[str, dict[str, Any]] = {
    "light": {"viewport": WIDE, "color_scheme": "light"},
    "dark": {"viewport": WIDE, "color_scheme": "dark"},
    "narrow": {"viewport": NARROW, "color_scheme": "light", "device_scale_factor": 2},
}


def pictures(scene: Scene, folder: Path) -> None:
    """Write a picture of each page in each look, and as it is printed."""
    for look, options in LOOKS.items():
        with scene.visit(None, **options) as (page, watch):
            watch.expected = frozenset({404})
            page.goto(f"{scene.url}/console")
            page.screenshot(path=folder / f"sign-in-{look}.png", full_page=True)
            scene.sign_in(page, scene.keys["admin"])
            page.get_by_role("button", name="Sign out").wait_for()
            for name, path in scene.pages.items():
                scene.open(page, path)
                page.screenshot(path=folder / f"{name}-{look}.png", full_page=True)
                if look == "light":
                    page.emulate_media(media="print")
                    page.screenshot(path=folder / f"{name}-print.png", full_page=True)
                    page.emulate_media(media="screen")
    print(f"{len(list(folder.glob('*.png')))} pictures in {folder}")


if __name__ == "__main__":
    sys.exit(main())
