"""Sorting: every line once and in order, however many temporary files it takes."""

import random

import pytest

from app.decision_log.lines import Line
from app.log_reading import order
from app.log_reading.order import by_decision, by_seq, ordered
from tests.unit.app.decision_log.samples import decision, outcome, state


@pytest.mark.parametrize("run", [1, 2_000, 10_000_000])
def test_in_order_and_once(run: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one line in a temporary file, some, or without files; also when these are merged on the way."""
    monkeypatch.setattr(order, "_FILES", 3)
    kept = [decision(seq, user) for user in ("ann", "bob") for seq in range(20)]
    kept += [decision(1, "ann", epoch="0")]
    mixed = [*kept, *kept[:7]]
    random.Random(1).shuffle(mixed)
    assert list(ordered(mixed, by_seq, run=run)) == sorted(kept, key=by_seq)


def test_outcomes_behind_their_decision() -> None:
    """So that nothing has to be kept until an outcome comes."""
    lines: list[Line] = [decision(1), decision(2), outcome(3, born=1), outcome(4, born=2), state(5), outcome(6, born=1)]
    assert [line.seq for line in ordered(lines, by_decision)] == [1, 3, 6, 2, 4, 5]
