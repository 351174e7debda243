"""A decision keeps every field on the way to a line of a backup and back."""

import msgspec

from app.backup.decision import Decision, in_new_epoch, named_by_decisions
from state import keys
from state.values import decision
from state.values.decision import Record
from state.values.stored import Stored
from tests.unit.app.commands.samples import COLUMNS, HISTORY, REWARDED, decided, decisions


def test_every_field_comes_back() -> None:
    """Through JSON, bit for bit, and each under its name."""
    for record in (decided(), decided("deferred", held=0.25), REWARDED):
        line = msgspec.json.encode(Decision.of(record))
        assert decision.decode("", msgspec.json.decode(line, type=Decision).encode()) == record
    assert Decision.__struct_fields__ == Record.__struct_fields__
    assert b'"by_policy":{"egreedy-v1":[0.95,0.05]' in line
    assert b'"status":"rewarded"' in line


def test_columns_that_decisions_name() -> None:
    """Those that a policy had when it learned; none of a decision that cannot be read."""
    _, made, _ = decisions(a=REWARDED, b=decided())
    assert named_by_decisions(made) == {COLUMNS.fingerprint}
    assert named_by_decisions(Stored("ann", keys.DECISIONS, {b"a": b"damage"})) == set()


def test_another_epoch() -> None:
    """Each time another one; all else stays."""
    stored = [HISTORY, *decisions(a=decided())]
    one, two = in_new_epoch(stored), in_new_epoch(stored)
    epochs = {values[1].value[b"epoch"] for values in (stored, one, two)}  # type: ignore[call-overload]
    assert len(epochs) == 3
    assert [one[0], *one[2:]] == [stored[0], *stored[2:]]
    assert one[1].value | {b"epoch": b""} == stored[1].value | {b"epoch": b""}  # type: ignore[operator]
