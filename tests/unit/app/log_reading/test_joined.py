"""Decisions with what became of them."""

from typing import Any

import pytest

from app.decision_log.lines import Line
from app.log_reading.joined import Told, joined
from app.log_reading.order import by_decision
from tests.unit.app.decision_log.samples import BEGIN, decision, outcome, state

END = 86_400_000


def test_outcomes_of_each() -> None:
    """Also with lines of others between, and without those whose decision is missing."""
    lines: list[Line] = [
        decision(1),
        decision(2),
        outcome(3, born=2),
        outcome(4, born=1),
        state(5),
        outcome(6, born=1, n=2),
        outcome(1, "bob", born=9),
        outcome(2, epoch="zz", born=1),
        decision(7),
    ]
    found = [
        (told.decision.seq, [each.seq for each in told.outcomes]) for told in joined(sorted(lines, key=by_decision))
    ]
    assert found == [(1, [4, 6]), (2, [3]), (7, [])]
    assert list(joined([])) == []


@pytest.mark.parametrize(
    ("deferred", "outcomes", "shown", "total", "in_time", "defaulted"),
    [
        (False, [], True, None, None, False),
        (False, [("applied", 0.5, 0)], True, 0.5, 0.5, False),
        (False, [("applied", 0.5, 0), ("corrected", 1.0, END)], True, 1.0, 0.5, False),
        (False, [("default", -1.0, END + 5)], True, -1.0, -1.0, True),
        (False, [("default", -1.0, END + 5), ("corrected", 1.0, END + 6)], True, 1.0, -1.0, False),
        (False, [("early", -1.0, 3)], True, -1.0, -1.0, True),
        (False, [("applied", 0.5, 0), ("retracted", None, 1)], True, None, None, False),
        (False, [("applied", 0.5, END)], True, 0.5, None, False),
        (False, [("cancelled", None, 0)], False, None, None, False),
        (True, [], None, None, None, False),
        (True, [("expired", None, END)], False, None, None, False),
        (True, [("activated", None, 0)], True, None, None, False),
        (True, [("activated", None, 0), ("applied", 0.25, 1)], True, 0.25, 0.25, False),
        (True, [("activated", 0.25, 0)], True, 0.25, 0.25, False),
    ],
)
def test_how_it_stands(
    deferred: bool, outcomes: list[tuple[str, Any, int]], shown: Any, total: Any, in_time: Any, defaulted: bool
) -> None:
    """Now, and at the deadline, which is the first moment that is too late."""
    told = Told(
        decision(deferred=deferred),
        [
            outcome(2 + number, what=what, total=value, ms=BEGIN + ms, learned=[] if value is None else ["egreedy-v1"])
            for number, (what, value, ms) in enumerate(outcomes)
        ],
    )
    assert (told.shown, told.total, told.total_in_time, told.defaulted) == (shown, total, in_time, defaulted)
    assert told.deadline == BEGIN + END
