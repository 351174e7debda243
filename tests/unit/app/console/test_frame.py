"""Templates made into pages."""

from collections.abc import Callable
from typing import Any

import pytest

from app.console import frame as module
from app.console.frame import ASSETS, Frame
from app.console.pages import Page, Shown
from tests.unit.app.console.scene import visit

pytestmark = pytest.mark.anyio


def made(give_way: Callable[[], Any] | None = None) -> Frame:
    async def nothing() -> None:
        pass

    unused: Any = None
    pages = [Page("", unused, name="Overview"), Page("/loops/{loop:str}", unused)]
    return Frame(pages, "1.2", give_way or nothing)


PROBLEM = Shown("problem.html", "<b>Odd</b>", {"detail": "<script>alert(1)</script>", "status": 500})


async def test_what_stands_in_a_page_is_escaped() -> None:
    """Wherever it is, and no page brings a script or a style of its own, which the policy would not run."""
    page = (await made().page(PROBLEM, visit(who="<i>ann"))).decode()
    assert "<b>" not in page
    assert "<i>" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert " style=" not in page
    assert "<style" not in page
    assert page.count("<script") == 1  # that of console.js


async def test_the_navigation_is_for_those_who_are_in() -> None:
    """Only pages with a name, and the one that is shown is marked; without keys everybody is in, and it says so."""
    page = (await made().page(PROBLEM, visit())).decode()
    assert '<a href="console" aria-current="page">Overview</a>' in page
    assert "/loops/" not in page
    assert "open to everyone" not in page
    assert "<nav" not in (await made().page(PROBLEM, visit(who=""))).decode()
    opened = (await made().page(PROBLEM, visit(who="", is_open=True))).decode()
    assert "open to everyone" in opened
    assert "Sign out" not in opened


async def test_the_work_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it begins, and after each slice of it."""
    times = 0

    async def give_way() -> None:
        nonlocal times
        times += 1

    await made(give_way).page(PROBLEM, visit())
    assert times >= 1
    before, times = times, 0
    monkeypatch.setattr(module, "_SLICE", 0.0)
    await made(give_way).page(PROBLEM, visit())
    assert times > before + 5


def test_assets() -> None:
    """Each with its type and a digest that names it."""
    assert {name: each.type.partition(";")[0] for name, each in ASSETS.items()} == {
        "console.css": "text/css",
        "console.js": "text/javascript",
        "icon.svg": "image/svg+xml",
    }
    assert len({each.digest for each in ASSETS.values()}) == len(ASSETS)
