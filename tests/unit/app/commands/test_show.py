"""One user readably, and what could not be read by name."""

import io

from rich.console import Console

from app.commands.show import picture
from state.transfer import Page
from state.values.stored import Stored
from tests.unit.app.commands.samples import HISTORY, model


def shown(page: Page) -> tuple[str, bool]:
    """The picture of a user without colours, and whether it is whole."""
    drawn, whole = picture("ann", page, {})
    screen = io.StringIO()
    Console(width=200, file=screen).print(drawn)
    return screen.getvalue(), whole


def test_a_user() -> None:
    """Counters with the mean reward, theta by name with a bar, the last decisions, the last synchronisation."""
    sync = Stored("ann", "sync", {b"provider": b"todo\x1b[2J"})
    text, whole = shown(Page([model("ann"), HISTORY, sync], []))
    assert whole
    assert "linucb-v1\n  3 decisions, 2 rewards, +0.500 each, last never\n" in text
    assert text.count("+0.2500") == 5
    assert text.count(" " * 16 + "│" + "█" * 16) == 5
    assert "history: the last 1 of 1\n  2026-11-23T12:47:24Z linucb-v1 rent +1.5000" in text
    assert "todo\\x1b[2J" in text


def test_nothing() -> None:
    """A user without keys is said to have none, and is not whole."""
    assert shown(Page([], [])) == ("ann\nthere is nothing of this user\n", False)


def test_damage_is_named_and_the_rest_is_shown() -> None:
    """A value that cannot be read, and a key of the wrong type."""
    broken = Stored("ann", "egreedy-v1", {b"A": b"", b"b": b"short", b"meta": b""})
    text, whole = shown(Page([model("ann"), broken], ["oo:{ann}:history"]))
    assert not whole
    assert "3 decisions" in text
    assert "oo:{ann}:egreedy-v1: b has 5 bytes, not 56 (d = 7)" in text
    assert "oo:{ann}:history: holds a value of another type" in text


def test_only_the_last_entries() -> None:
    """Ten of them, and how many there are."""
    text, _ = shown(Page([Stored("ann", "history", HISTORY.value * 12 if isinstance(HISTORY.value, list) else [])], []))
    assert "history: the last 10 of 12" in text
    assert text.count("rent") == 10
