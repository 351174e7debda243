"""Lines made of records: what a line has that the record has not, and what is left out."""

import msgspec

from app.decision_log.lines import Snapshot, Taught, decode, encode
from app.ledger.telling import Became, Name, base, begun, first_reward, first_score, outcome
from tests.unit.app.ledger.test_ledger import OPEN

NAME = Name("u", "e", 3, 1_800_000_000_123)
TAUGHT = Taught("own", "columns", 1)


def test_what_became() -> None:
    """The record before says what stood; its columns are told only of decisions that the log does not have."""
    after = msgspec.structs.replace(OPEN, reward=0.5, n=1, status="rewarded")
    event = Became(OPEN, after, "applied", 0.5, "")
    for whole in (False, True):
        line = outcome(NAME, "x", event, {"serves": TAUGHT}, whole=whole)
        assert decode(encode(line)) == line
        assert (line.id, line.seq, line.ts, line.total, line.was) == ("x.dQ", 3, "2027-01-15T08:00:00.123Z", 0.5, None)
        assert line.x == ({"size": 1.0} if whole else None)


def test_states() -> None:
    """Each can be read again."""
    for line in (
        begun(NAME, {"p": Snapshot(b"a", b"b", b"m", "c")}, ["q"]),
        first_score(NAME, "p", explored=True),
        first_reward(NAME, "p", {"one": 1.0}, 0.5, TAUGHT),
    ):
        assert decode(encode(line)) == line


def test_zeros_are_left_out() -> None:
    """A base column that is not there counts as 0."""
    assert base(["a", "b", "c"], [0.0, 2.0, -0.0]) == {"b": 2.0}
