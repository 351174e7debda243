"""One user readably, and what could not be read by name."""

import io

from rich.console import Console

from app.commands.show import picture
from state import keys
from state.transfer import Page
from state.values.stored import Stored
from tests.unit.app.commands.samples import HISTORY, REWARDED, decided, decisions, model


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


def test_decisions() -> None:
    """Those that are open, then the last with an outcome; each in a line, and nothing that controls a terminal."""
    made = {f"d{number}": decided("cancelled", born=number) for number in range(10)}
    text, whole = shown(
        Page(decisions(mail=decided(chosen=1), sms=decided("deferred", held=0.25), **made, z=REWARDED), [])
    )
    assert whole
    assert [line.rstrip() for line in text.splitlines()[1:5]] == [
        "",
        "open decisions: the last 2 of 2",
        "  2026-11-23T12:47:24Z mail tips walk\\x1b[2J 0.050 open",
        "  2026-11-23T12:47:24Z sms  tips rent        0.950 deferred +0.2500",
    ]
    assert "decisions with an outcome: the last 10 of 11" in text
    assert "rewarded  +1.0000" in text
    text, whole = shown(Page([decisions(a=REWARDED)[0], Stored("ann", "d", {b"a": b"x"})], []))
    assert not whole
    assert "oo:{ann}:d a: is not a decision" in text


def test_when_a_user_expires() -> None:
    """In words for people; what is no moment is passed over."""
    moment, odd = (Stored("ann", keys.SEEN, value) for value in (b"1795438044999", b"soon"))
    assert shown(Page([moment], [])) == ("ann\n\nexpires 2026-11-23T12:47:24Z, unless the user returns before\n", True)
    assert "expires" not in shown(Page([odd], []))[0]


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
