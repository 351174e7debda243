"""What was told of a decision: what it makes of the record, without a store."""

from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from app.decisions.errors import Refused, Unfit
from app.decisions.told import Told, activated, cancelled, corrected, retracted, rewarded
from app.ledger.ledger import Ledger
from state.values.decision import Part, Record, Terms

NOW = 5_000
MADE = Record(
    request=b"",
    loop="l",
    policy="p",
    status="deferred",
    born=1,
    decided=0,
    deadline=9_000,
    terms=Terms(-1.0, 1.0, None, discards=True, adds=False),
    ids=["a"],
    propensities=[1.0],
    chosen=0,
    score=0.0,
    seed=1,
    by_policy=[],
    labels=[],
    x=[],
)


class Teacher(SimpleNamespace):
    """A ledger that only notes what is learned."""

    now = NOW

    def teach(self, made: Record, reward: float, _: int) -> tuple[Record, list[str]]:
        return msgspec.structs.replace(made, reward=reward), ["gone"]

    def correct(self, made: Record, reward: float | None) -> tuple[Record, list[str]]:
        return msgspec.structs.replace(made, reward=reward), []


LEDGER = cast("Ledger", Teacher())


def record(**fields: Any) -> Record:
    return msgspec.structs.replace(MADE, **fields)


def test_a_held_reward_is_learned_when_it_is_shown() -> None:
    """And not before."""
    what, held, skipped = rewarded(LEDGER, MADE, Told(reward=0.5))
    assert (what, held.held, held.reward, held.n, skipped) == ("held", 0.5, None, 1, [])
    what, shown, skipped = activated(LEDGER, held)
    assert (what, shown.held, shown.reward, shown.status, skipped) == ("activated", None, 0.5, "rewarded", ["gone"])
    assert activated(LEDGER, shown) == ("duplicate", shown, [])


@pytest.mark.parametrize("act", [rewarded, corrected, retracted])
def test_what_was_never_shown_has_no_outcome(act: Any) -> None:
    """Cancelled, or over."""
    for status in ("cancelled", "void"):
        with pytest.raises(Refused) as refused:
            act(LEDGER, record(status=status), Told(reward=0.5))
        assert refused.value.status == status


def test_late_ones_are_discarded_where_the_terms_say_so() -> None:
    """They are no error, and change nothing."""
    made = record(status="open", deadline=NOW)
    assert rewarded(LEDGER, made, Told(reward=0.5)) == ("late", made, [])


def test_what_does_not_fit_the_terms() -> None:
    """Out of range, a part where there is none, and too many parts."""
    sums = record(
        status="open",
        terms=msgspec.structs.replace(MADE.terms, adds=True),
        parts={str(part): Part(0.0, 0.0) for part in range(64)},
    )
    for made, told in (
        (MADE, Told(reward=2.0)),
        (MADE, Told(reward=0.5, part="x")),
        (sums, Told(reward=0.5)),
        (sums, Told(reward=0.5, part="x")),
    ):
        with pytest.raises(Unfit):
            rewarded(LEDGER, made, told)


def test_cancelled() -> None:
    """What had an outcome cannot be, and twice is once."""
    what, after, _ = cancelled(MADE)
    assert (what, after.status) == ("cancelled", "cancelled")
    assert cancelled(after) == ("duplicate", after, [])
    with pytest.raises(Refused):
        cancelled(record(status="rewarded"))
