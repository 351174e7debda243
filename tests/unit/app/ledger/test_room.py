"""Room for one more decision: who ends early, and who goes."""

import msgspec
import pytest

from app.ledger import room
from app.ledger.room import Crowds, leaves_next, make_room
from state.update.changes import Entry
from state.values import decision
from tests.unit.app.ledger.test_ledger import BOOKS, CATALOG, OPEN, PLAIN, after, ledger, rules, values


@pytest.mark.parametrize("loop", ["small", "small-books"])
def test_room_is_made(loop: str) -> None:
    """The oldest open ones end early, and stay: their outcome may still come."""
    terms = BOOKS if loop == "small-books" else PLAIN
    there = {name: msgspec.structs.replace(OPEN, loop=loop, terms=terms) for name in "abc"}
    with rules() as known:
        found = ledger(known, values(45_000, there))
        make_room(found, CATALOG.loops[loop])
        assert (found.user.open, found.user.records) == (1, 3)
        assert found.ended == [(loop, "early")] * 2
        status = "defaulted" if loop == "small-books" else "open"
        for name in "ab":
            assert after(found.record(name), early=True, status=status)
        assert after(found.record("c"), early=False, status="open")


def test_room_for_records() -> None:
    """Settled ones go first; where all are open the oldest goes."""
    settled = msgspec.structs.replace(OPEN, loop="small", status="cancelled")
    with rules() as known:
        there = {"open": msgspec.structs.replace(OPEN, loop="small"), **{f"x{place}": settled for place in range(7)}}
        found = ledger(known, values(45_000, there, decision.User(b"e", 1, 0, 1, 8)))
        make_room(found, CATALOG.loops["small"])
        assert (found.record("open") is not None, found.record("x0")) == (True, None)
        assert found.ended == [("small", "dropped")]
        assert (found.user.open, found.user.records) == (1, 7)


def test_room_where_no_open_one_is_in_sight() -> None:
    """The settled ones that hide them go."""
    settled = msgspec.structs.replace(OPEN, loop="small", status="cancelled")
    with rules() as known:
        found = ledger(known, values(45_000, {"a": settled, "b": settled}, decision.User(b"e", 1, 0, 2, 4)))
        make_room(found, CATALOG.loops["small"])
        assert (found.record("a"), found.record("b"), found.user.records) == (None, None, 2)


def test_room_for_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond so many bytes settled ones go, then the oldest open ones, whose default is learned before."""
    sizes = [len(decision.encode(OPEN)), len(decision.encode(msgspec.structs.replace(OPEN, status="cancelled")))]
    monkeypatch.setattr(room, "_BYTES_MIN", sizes[0] + 1)
    monkeypatch.setattr(room, "_BYTES_EACH", 0)
    there = {"a": OPEN, "b": msgspec.structs.replace(OPEN, status="cancelled"), "c": OPEN}
    with rules() as known:
        found = ledger(known, values(45_000, there, decision.User(b"e", 1, 0, 2, 3, 2 * sizes[0] + sizes[1])))
        make_room(found, CATALOG.loops["plain"])
        assert [found.record(name) is None for name in "abc"] == [True, True, False]
        assert found.ended == [("books", "dropped"), ("books", "early"), ("books", "dropped")]
        assert (found.user.open, found.user.records, found.user.bytes) == (1, 1, sizes[0])


def test_who_makes_room_next() -> None:
    """Of a user with as many open ones as may be, the first that is left; of others none, nor where it is not known."""
    there = {name: msgspec.structs.replace(OPEN, loop="small") for name in "abc"}
    with rules() as known:
        found = ledger(known, values(45_000, there))
        make_room(found, CATALOG.loops["small"])
        assert leaves_next(found, CATALOG.loops["small"]) is None
        found.add("d", msgspec.structs.replace(OPEN, loop="small"))
        assert leaves_next(found, CATALOG.loops["small"]) == b"c"


def test_what_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last name of each user, of a bounded number of users."""
    monkeypatch.setattr(room, "_REMEMBERED", 2)
    crowds = Crowds()
    for user, name in (("a", b"1"), ("b", b"2"), ("a", b"3"), ("c", b"4")):
        crowds.note(user, name)
    assert crowds.reads("b") == ()
    assert crowds.reads("a") == (Entry("oo:{a}:d", b"3"),)
    crowds.note("a", None)
    assert crowds.reads("a") == ()
