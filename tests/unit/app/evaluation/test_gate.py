"""The gate: beside given numbers, and by how often it errs when it is looked at again and again."""

import math

import numpy as np
import pytest

from app.evaluation.gate import ALPHA, Bounds, bounds, log_e, lower, needed
from app.evaluation.sums import reduced
from bench.evidence import peeked
from tests.unit.app.evaluation.logs import draw, facts, few, logged, made, many


def test_given_numbers() -> None:
    """The bounds of the 20 decisions, and the evidence that the challenger is better."""
    agreed, found = facts()["few"]["agreed"], bounds(reduced(few(), few().by_policy["e"]))
    assert [found.low, found.high] == pytest.approx(agreed["gate_two_sided_95"]["20 rows"], rel=1e-14)
    assert found.log_e_value == pytest.approx(agreed["log_e_value_no_better"]["20 rows"], rel=1e-12)
    assert (found.n, found.refused) == (20, "")


@pytest.mark.parametrize("data", ["few", "many"])
def test_numbers_by_scipy(data: str) -> None:
    """Found by scipy's logsumexp and brentq."""
    log, numbers = few() if data == "few" else many(), facts()[data]["numbers"]["scipy"]
    found = bounds(reduced(log, log.by_policy["e"]))
    assert [found.low, found.high] == pytest.approx(numbers["gate"], rel=1e-12)
    assert found.log_e_value == pytest.approx(numbers["log_e"], rel=1e-10)


def test_by_hand() -> None:
    """The mean of 24 exponentials, and the bound at which it is 1/alpha."""
    lambdas = [2 ** (-j / 2) for j in range(1, 25)]
    terms = [math.exp(x * (5.0 - 0.1 * 40) + (math.log(1 - x) + x) * 7.0) for x in lambdas]
    assert log_e(40.0, 5.0, 7.0, 0.1) == pytest.approx(math.log(sum(terms) / 24), rel=1e-12)
    low = lower(40.0, 5.0, 7.0, 0.025)
    assert log_e(40.0, 5.0, 7.0, low) == pytest.approx(math.log(40.0), rel=1e-12)
    assert lower(40.0, 5.0, 7.0, 0.0125) < low < 5.0 / 40.0
    assert lower(1.0, -0.5, 0.25, 1e-9) < -20.0


def test_challengers_share_the_chance_to_err() -> None:
    """With m of them each has an m-th of it."""
    sums = reduced(few(), few().by_policy["e"])
    d, d2 = sums.total("d"), sums.total("d2")
    assert bounds(sums, 3).low == lower(20.0, d, d2, ALPHA / 6.0)
    assert bounds(sums, 3).high > bounds(sums).high


def test_a_canary_gives_up_a_part() -> None:
    """The bound is in units of the whole difference, whatever the canary's share."""
    log = made()
    c, e = (log.by_policy[name].reshape(-1, 4) for name in ("champion", "challenger"))
    half = made(h=(c + e) / 2.0, share=np.full(4_000, 0.5))
    sums = reduced(half, half.by_policy["challenger"])
    found = bounds(sums)
    assert found.low == pytest.approx(2.0 * lower(4_000.0, sums.total("d"), sums.total("d2"), 0.025), rel=1e-12)
    # The champion's feature is worth twice the other.
    assert -0.2 < found.low < found.high < 0.0
    assert found.needed is None


def test_a_better_challenger_passes() -> None:
    """As canary within some thousand decisions; what was said to be needed was about right."""
    log = made(8_000)
    c, e = (log.by_policy[name].reshape(-1, 4) for name in ("champion", "challenger"))
    turned = {"champion": e, "challenger": c}
    h = 0.9 * e + 0.1 * c
    drawn = made(8_000, h=h, share=np.full(8_000, 0.1), by_policy={name: p.ravel() for name, p in turned.items()})
    found = bounds(reduced(drawn, drawn.by_policy["challenger"]))
    assert 0.0 < found.low < found.high
    assert found.log_e_value > math.log(40.0)
    assert found.needed == 0
    early = bounds(
        reduced(
            made(8_000, h=h, share=np.full(8_000, 0.1), by_policy=drawn.by_policy, matured=np.arange(8_000) < 1_500),
            drawn.by_policy["challenger"],
        )
    )
    assert early.low < 0.0
    assert early.needed is not None
    assert 500 < early.needed < 15_000


def test_needed() -> None:
    """So many decisions more, of the same kind, and not one in a hundred fewer, make the bound positive."""
    more = needed(1_000.0, 20.0, 150.0, 0.025)
    assert more is not None
    for times, is_enough in ((1.0 + more / 1_000.0, True), (1.0 + 0.99 * more / 1_000.0, False)):
        assert (lower(1_000.0 * times, 20.0 * times, 150.0 * times, 0.025) > 0.0) == is_enough
    assert needed(1_000.0, 1_000.0, 1_000.0, 0.025) == 0
    assert needed(1_000.0, -20.0, 150.0, 0.025) is None
    assert needed(1_000.0, 0.0, 0.0, 0.025) is None


def test_no_bound() -> None:
    """Where too many outcomes are missing, where the log contradicts itself, and where nothing is read."""
    silent = np.where(np.arange(4_000) % 97 == 0, np.nan, 1.0)
    log = made(reward=silent)
    found = bounds(reduced(log, log.by_policy["challenger"]))
    assert found.refused == "1.1% of its decisions have no outcome, and silence does not count as one"
    assert (found.low, found.high, found.needed) == (-1.0, 1.0, None)
    assert not bounds(reduced(made(reward=silent, missing=0.0), log.by_policy["challenger"])).refused
    few_lost = np.where(np.arange(4_000) % 101 == 0, np.nan, 1.0)
    assert not bounds(reduced(made(reward=few_lost), log.by_policy["challenger"])).refused

    c, e = np.array([[0.9, 0.1]] * 50), np.array([[0.0, 1.0]] * 50)
    wrong = logged(np.array([[0.5, 0.5]] * 50), {"c": c, "e": e}, [0] * 50, np.ones(50), [0] * 50)
    assert "below the champion's part" in bounds(reduced(wrong, e.ravel())).refused

    nothing = few(matured=np.zeros(20, bool))
    assert bounds(reduced(nothing, nothing.by_policy["e"])) == Bounds(-1.0, 1.0, 0.0, 0, None)


def test_bounds_stay_within_what_can_be() -> None:
    """A difference of two numbers from 0 to 1 is from -1 to 1."""
    c, e = np.array([[0.99, 0.01]] * 3), np.array([[0.01, 0.99]] * 3)
    log = logged(c, {"c": c, "e": e}, draw(c, np.random.default_rng(0)), np.ones(3), [0, 1, 2])
    found = bounds(reduced(log, e.ravel()))
    assert (found.low, found.high) == (-1.0, 1.0)


def test_order_does_not_matter() -> None:
    """Nor do parts: the gate is made of sums."""
    log = many()
    turned = np.arange(240)[::-1]
    other = many(
        propensities=log.propensities.reshape(-1, 4)[turned].ravel(),
        by_policy={name: p.reshape(-1, 4)[turned].ravel() for name, p in log.by_policy.items()},
        chosen=log.chosen[turned],
        reward=log.reward[turned],
    )
    one, two = (bounds(reduced(each, each.by_policy["e"])) for each in (log, other))
    assert two.low == pytest.approx(one.low, rel=1e-12)
    assert two.high == pytest.approx(one.high, rel=1e-12)


@pytest.mark.slow
def test_it_may_be_looked_at_again_and_again() -> None:
    """Where there is no difference, of 300 loops at most one in a hundred promotes, while a normal interval that is
    looked at as often does in far more; where differences drift, it holds the truth at every look."""
    even = peeked(100, 2_000, gain=0.0, seed=1)
    assert even.promoted.mean() <= 0.01
    assert even.missed.mean() <= 0.02
    assert even.normal_promoted.mean() > 0.04
    drifting = peeked(100, 1_500, gain=0.2, seed=2)
    assert drifting.missed.mean() <= 0.02
    assert drifting.normal_missed.mean() > 0.15
