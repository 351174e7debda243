"""What a user's changes share: their time and count, and how the log of a user begins."""

from typing import Any

import pytest

from app.ledger.journal import Journal
from app.ledger.telling import first_score
from state import keys
from state.update.changes import MOMENT, Emit, Fields, Hash, More
from state.values import decision
from state.values.record import FIELDS
from tests.unit.app.ledger.test_ledger import CATALOG, rules


def read(now: int, user: decision.User | None = None) -> dict[str, Any]:
    fields = decision.encode_user(user) if user else {}
    return {keys.shared("u"): [fields.get(name) for name in decision.SHARED], MOMENT: [b"%d" % now, b"500000"]}


@pytest.mark.parametrize(("last", "now"), [(0, 5_500), (9_000, 9_000)])
def test_time_and_count(last: int, now: int) -> None:
    """Time is the later of Redis's clock and the user's own; each change counts, also without a log."""
    with rules() as known:
        found = Journal(known, "u", read(5, decision.User(b"e", 7, last)), lambda: b"new")
        found.tell(lambda name: first_score(name, "serves", explored=False))
        assert (found.clock, found.now, found.seconds(1), found.user.seq) == (5_500, now, now // 1_000, 8)
        [shared] = found._written()
    assert isinstance(shared, Fields)
    # What does not change is not written.
    assert {*shared.values} == {b"seq", b"last", b"open", b"records", b"bytes"}
    assert (shared.values[b"seq"], shared.values[b"last"]) == (b"8", b"%d" % now)


def test_the_log_begins() -> None:
    """It asks for all models first; a new user's first line is the change itself, and says where the log began."""
    models = {keys.record("u", policy): [None] * len(FIELDS) for policy in CATALOG.policies}
    with rules(logs=True) as known:
        with pytest.raises(More) as asked:
            Journal(known, "u", read(5), lambda: b"new")
        assert {one.key for one in asked.value.reads} == set(models)
        assert all(isinstance(one, Hash) for one in asked.value.reads)
        found = Journal(known, "u", read(5) | models, lambda: b"new")
        found.tell(lambda name: first_score(name, "serves", explored=True), "books")
        shared, line = found._written()
    assert isinstance(shared, Fields)
    assert (shared.values[b"seq"], shared.values[b"logged"]) == (b"1", b"1")
    assert isinstance(line, Emit)
    assert (line.key, line.group) == (keys.outbox(None), "books")
    assert b'"seq":1' in line.line
