"""The decisions of a user while a step runs: where they are, and what is written of them."""

import msgspec
import pytest

from state import keys, parts
from state.update.changes import Drop, Entry, Fields, More, entry
from state.values import decision
from state.values.decision import User
from tests.unit.app.ledger.test_ledger import HASH, OPEN, ledger, rules, values


def test_what_was_not_read_is_asked_for() -> None:
    """What is known not to be there is not."""
    found = values(5_000, {"x": OPEN}) | {entry(HASH, b"z"): None}
    with rules() as known:
        one = ledger(known, found)
        assert (one.record("x"), one.record("z")) == (OPEN, None)
        with pytest.raises(More) as more:
            one.record("y")
    assert more.value.reads == (Entry(HASH, b"y"),)


def test_what_changes_is_counted_and_written() -> None:
    """What was put is seen by the next; what goes is written last, and its bytes are not counted any more."""
    blob = decision.encode(OPEN)
    found = values(5_000, {"x": OPEN, "y": OPEN}, User(b"e", 3, open=2, records=2, bytes=2 * len(blob)))
    after = msgspec.structs.replace(OPEN, status="cancelled", n=1)
    with rules() as known:
        one = ledger(known, found)
        one.record("x")
        one.put("x", OPEN, after, "cancelled")
        assert one.record("x") == after
        one.drop("y", OPEN)
        assert one.record("y") is None
        one.add("z", OPEN)
        size = len(decision.encode(after)) + len(blob)
        assert (one.user.seq, one.user.open, one.user.records, one.user.bytes) == (4, 1, 2, size)
        assert one.change(None).writes[:2] == (
            Fields(HASH, {b"x": decision.encode(after), b"z": blob}),
            Drop(HASH, (b"y",)),
        )


def test_decisions_of_a_large_loop() -> None:
    """They are kept where their ids say, and asked for there and in the one hash of others."""
    new, made = msgspec.structs.replace(OPEN, loop="large"), f"{'1' * 10}{'b' * 13}"
    home = parts.of(HASH, made.encode())
    with rules() as known:
        with pytest.raises(More) as more:
            ledger(known, values(5_000, {})).add("y", new, large=True)
        assert more.value.reads == (Entry(parts.of(HASH, b"y"), b"y"),)
        # An id of the service is not known before the transaction; its part is.
        found = values(5_000, {"x": OPEN}) | {entry(home, b"0" * 10 + b"b" * 13): None}
        one = ledger(known, found)
        one.add(made, new, large=True)
        written = {write.key: write for write in one.change(None).writes}
        assert written[home] == Fields(home, {made.encode(): decision.encode(new)})
        shared = written[keys.shared("u")]
        assert isinstance(shared, Fields)
        assert shared.values[b"parts"] == b"256"
        found[keys.shared("u")] = [shared.values.get(name) for name in decision.SHARED]
        one = ledger(known, found)
        with pytest.raises(More) as more:
            one.record("x")
        assert more.value.reads == (Entry(parts.of(HASH, b"x"), b"x"),)
        found[entry(parts.of(HASH, b"x"), b"x")] = None
        one = ledger(known, found)
        assert one.record("x") == OPEN
        one.drop("x", OPEN)
        assert Drop(HASH, (b"x",)) in one.change(None).writes


def test_a_name_that_moves_leaves_nothing_behind() -> None:
    """A decision went from the one hash, and another one of its name is of a large loop."""
    home = parts.of(HASH, b"x")
    with rules() as known:
        one = ledger(known, values(5_000, {"x": OPEN}) | {entry(home, b"x"): None})
        one.record("x")
        one.drop("x", OPEN)
        one.add("x", OPEN, large=True)
        writes = one.change(None).writes
    assert Drop(HASH, (b"x",)) in writes
    assert Fields(home, {b"x": decision.encode(OPEN)}) in writes
