"""Decisions of the log as arrays."""

import math
from typing import Any

import numpy as np
import pytest

from app.decision_log.lines import Candidate
from app.evaluation.logged import Logged, user_code
from app.judging.gathered import Gathered, Range
from app.judging.regressors import Regressors
from app.log_reading.joined import Told
from tests.unit.app.decision_log.samples import BEGIN, decision, outcome

HOUR = 3_600_000
DAY = 24 * HOUR


def gathered(*told: Told) -> Gathered:
    nothing = Regressors([])
    found = Gathered(nothing.sizes)
    for each in told:
        found.add(each, nothing.of(each.decision))
    return found


def logged(*told: Told, as_of: int = BEGIN + 9 * DAY, rewards: Range | None = None) -> Logged:
    return gathered(*told).logged(as_of, rewards or Range(), {})


def test_decisions_lie_by_time() -> None:
    """Whoever was added first; candidates stay with their decision, and policies lack those that came before them."""
    three: dict[str, Any] = {
        "candidates": [Candidate(name, {}) for name in "abc"],
        "propensities": [0.5, 0.2, 0.3],
        "by_policy": {"egreedy-v1": [0.5, 0.2, 0.3], "new": [1.0, 0.0, 0.0]},
        "chosen": 2,
        "propensity": 0.3,
        "excluded": [0],
    }
    told = Told(decision(1, ms=BEGIN + HOUR, **three), [outcome()])
    found = logged(told, Told(decision(1, "bea", share=0.25), []))
    assert (found.champion, found.challengers) == ("egreedy-v1", ["new", "tips-v3"])
    assert found.starts.tolist() == [0, 2, 5]
    assert found.propensities.tolist() == [0.95, 0.05, 0.5, 0.2, 0.3]
    np.testing.assert_array_equal(found.by_policy["new"], [math.nan, math.nan, 1.0, 0.0, 0.0])
    np.testing.assert_array_equal(found.by_policy["tips-v3"], [0.99, 0.01, math.nan, math.nan, math.nan])
    np.testing.assert_array_equal(found.reward, [math.nan, 0.5])
    assert found.chosen.tolist() == [0, 2]
    assert found.excluded.tolist() == [False, False, True, False, False]
    assert found.user.tolist() == [user_code("bea"), user_code("ann")]
    assert found.hour.tolist() == [BEGIN // HOUR, BEGIN // HOUR + 1]
    assert found.share.tolist() == [0.25, 0.0]
    assert gathered(told).names() == [(BEGIN + HOUR, user_code("ann"), 1)]


@pytest.mark.parametrize(
    ("told", "matured", "shown"),
    [
        (Told(decision(), []), BEGIN + DAY, True),
        (Told(decision(deferred=True), []), None, False),
        (Told(decision(deferred=True), [outcome(what="activated", total=None)]), BEGIN + DAY, True),
        (Told(decision(deferred=True), [outcome(what="cancelled", total=None)]), 0, False),
        (Told(decision(deferred=True), [outcome(what="expired", total=None)]), 0, False),
    ],
)
def test_when_a_decision_counts(told: Told, matured: int | None, shown: bool) -> None:
    """When its window has closed and it is known to have been shown; what is void is settled at once."""
    for as_of in (BEGIN + DAY - 1, BEGIN + DAY):
        found = logged(told, as_of=as_of)
        assert found.matured.tolist() == [matured is not None and as_of >= matured]
    assert found.shown.tolist() == [shown]


def test_rewards_as_they_stand_and_stood() -> None:
    """A correction after the deadline is no reward in time; silence is none at all."""
    late = outcome(4, ms=BEGIN + 2 * DAY, n=2, what="corrected", reward=1.0, total=1.0)
    found = logged(Told(decision(), [outcome(), late]), Told(decision(2, ms=BEGIN + 1), []))
    np.testing.assert_array_equal(found.reward, [1.0, math.nan])
    np.testing.assert_array_equal(found.reward_in_time, [0.5, math.nan])
    rewards = Range(0.0, 2.0, 0.0)
    again = logged(Told(decision(), []), rewards=rewards)
    assert (again.low, again.high, again.missing) == (0.0, 2.0, 0.0)
    with pytest.raises(ValueError, match=r"takes 0 to 0\.25"):
        logged(Told(decision(), [outcome()]), rewards=Range(0.0, 0.25))


def test_eras() -> None:
    """One for each stretch in which champion, challenger, the versions of both and the canary's share are the same."""
    old = {"egreedy-v1": "1", "tips-v3": "1"}
    settings: list[tuple[dict[str, Any], int]] = [
        ({"versions": old}, 0),
        ({"versions": old | {"other": "5"}}, 0),
        ({"versions": old | {"tips-v3": "2"}}, 1),
        ({"versions": old | {"tips-v3": "2"}, "share": 0.1}, 2),
        ({"versions": old | {"tips-v3": "2"}, "share": 0.1, "by_policy": {"egreedy-v1": [0.95, 0.05]}}, 0),
        ({"versions": old | {"tips-v3": "2"}, "share": 0.1, "policy": "tips-v3", "champion": "egreedy-v1"}, 2),
        ({"versions": old | {"tips-v3": "2"}, "share": 0.1, "champion": "tips-v3"}, 3),
        ({"versions": old | {"tips-v3": "2"}}, 4),
        ({"versions": old}, 5),
        ({"versions": old | {"egreedy-v1": "2"}}, 6),
    ]
    told = [Told(decision(seq, ms=BEGIN + seq, **said), []) for seq, (said, _) in enumerate(settings, 1)]
    found = logged(*told)
    assert found.champion == "egreedy-v1"
    assert found.eras["tips-v3"].tolist() == [era for _, era in settings]


def test_a_champion_that_was_not_scored() -> None:
    """Has no probabilities, which the evaluation refuses."""
    found = logged(Told(decision(by_policy={"tips-v3": [0.5, 0.5]}), []))
    assert np.isnan(found.by_policy["egreedy-v1"]).all()
