"""Reward, regret and share with their errors, by hand."""

import math

import numpy as np
import pytest

from app.simulation.outcome import FIRST, LAST, Outcome

# Two seeds, ten stretches of two decisions each; the best choice earns 1 and a random one 0 in each decision.
BEST, RANDOM = np.full((2, 10), 2.0), np.zeros((2, 10))
STEADY = np.array([[1.0] * 10, [1.5] * 10])
LEARNS = np.array([[0.0] + [1.0] * 8 + [2.0], [0.0] + [1.0] * 8 + [2.0]])
FOUND = Outcome(("steady", "learns"), np.arange(2, 21, 2), np.array([STEADY, LEARNS]), BEST, RANDOM)


def test_estimates() -> None:
    """Means over seeds, and the standard deviation of the mean: half the difference of two seeds."""
    assert (FOUND.decisions, FOUND.seeds) == (20, 2)
    reward = FOUND.reward("steady")
    assert (reward.mean, reward.error) == pytest.approx((0.625, 0.125))
    regret = FOUND.regret("steady")
    assert (regret.mean, regret.error) == pytest.approx((7.5, 2.5))
    share = FOUND.share("steady")
    assert (share.mean, share.error) == pytest.approx((0.625, 0.125))
    assert [each.mean for each in FOUND.bounds()] == [0.0, 1.0]


def test_parts() -> None:
    """The first and the last tenth of the decisions."""
    assert [FOUND.share("learns", part).mean for part in (FIRST, "", LAST)] == [0.0, 0.5, 1.0]


def test_policies_are_compared_seed_by_seed() -> None:
    """The best comes first; the error of a difference is that of the differences."""
    assert FOUND.ranking() == ["steady", "learns"]
    behind = FOUND.behind("learns", "steady")
    assert (behind.mean, behind.error) == pytest.approx((-0.125, 0.125))
    assert FOUND.behind("learns", "learns").error == 0.0


def test_curves() -> None:
    """The share of each stretch, and the regret up to its end."""
    assert FOUND.shares("learns")[0].tolist() == [0.0] + [0.5] * 8 + [1.0]
    means, errors = FOUND.regrets("steady")
    assert means.tolist() == pytest.approx([0.75 * number for number in range(1, 11)])
    assert errors.tolist() == pytest.approx([0.25 * number for number in range(1, 11)])


def test_one_seed_has_no_error() -> None:
    """Nothing is known of the error, and nothing warns."""
    one = Outcome(("steady",), FOUND.ends, STEADY[None, :1], BEST[:1], RANDOM[:1])
    assert one.share("steady").mean == 0.5
    assert math.isnan(one.share("steady").error)
    assert np.isnan(one.shares("steady")[1]).all()


def test_nothing_to_gain() -> None:
    """Where all candidates are equally good, every choice is the best."""
    same = Outcome(("steady",), FOUND.ends, STEADY[None], STEADY, STEADY)
    assert same.share("steady").mean == 1.0
