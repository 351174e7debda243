"""The explorers: against the textbook, by their propensities."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.bandit.explore import (
    DRAWS,
    EpsilonGreedy,
    Explorer,
    InverseGap,
    Thompson,
    UpperConfidence,
    floored,
)
from app.bandit.ridge import Matrix, Singular, Vector, theta
from tests.unit.app.bandit.samples import SHAPES, draws, history, learned, odds_of
from tests.unit.app.bandit.test_sample import seen


def best(explorer: Explorer, a: Matrix, b: Vector, x: Matrix) -> int:
    """The row with the largest propensity."""
    propensities = odds_of(explorer, a, b, x).propensities
    return propensities.index(max(propensities))


@given(SHAPES, st.floats(0, 10), st.integers(1, 12))
def test_upper_confidence_is_the_textbooks(shape: tuple[int, int, int], alpha: float, k: int) -> None:
    """It chooses the row with the highest theta·x + alpha sqrt(xᵀ A⁻¹ x), computed here by the inverse, row by row."""
    a, b = learned(*history(*shape))
    x, _ = history(shape[0] + 1, shape[1], k)
    inverse = np.linalg.inv(a)
    scores = [float((inverse @ b) @ row + alpha * math.sqrt(row @ inverse @ row)) for row in x]
    odds = odds_of(UpperConfidence(alpha), a, b, x)
    assert odds.scores.tolist() == pytest.approx(scores, abs=1e-9)
    assert sorted(odds.propensities) == [0.0] * (k - 1) + [1.0]
    assert scores[odds.propensities.index(1.0)] == pytest.approx(max(scores), abs=1e-9)
    assert odds.random == [0.0] * k


@given(SHAPES, st.floats(0, 1), st.integers(1, 12))
def test_epsilon_greedy_is_the_textbooks(shape: tuple[int, int, int], epsilon: float, k: int) -> None:
    """Each row has epsilon / k, the one with the highest theta·x has 1 - epsilon more."""
    a, b = learned(*history(*shape))
    x, _ = history(shape[0] + 1, shape[1], k)
    scores = x @ theta(a, b)
    odds = odds_of(EpsilonGreedy(epsilon), a, b, x)
    assert odds.scores.tolist() == scores.tolist()
    assert sum(odds.propensities) == pytest.approx(1.0, abs=1e-12)
    assert odds.random == [epsilon / k] * k
    chosen = (scores >= max(scores) - 1e-12).tolist().index(True)
    expected = [epsilon / k + (1 - epsilon) * (row == chosen) for row in range(k)]
    assert odds.propensities == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("explorer", [UpperConfidence(1.0), UpperConfidence(1.0, 0.1), EpsilonGreedy(0.1)])
def test_the_first_of_equals_wins(explorer: Explorer) -> None:
    """Equal rows, and rows that differ by rounding alone, tie; the first wins wherever the ties stand."""
    a, b = learned(*history(1, 5, 30))
    highest = 10 * theta(a, b)
    for k in range(2, 40):
        for first in range(0, k, 3):
            x = np.zeros((k, 5))
            x[first:] = highest
            assert best(explorer, a, b, x) == first
    a, b = np.eye(1), np.ones(1)
    x = np.array([[0.5], [1.0 - 5e-13], [1.0]])
    assert best(explorer, a, b, x) == 1
    x[1] = 1.0 - 5e-12
    assert best(explorer, a, b, x) == 2


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (np.zeros((2, 2)), np.zeros(2)),
        (np.ones((2, 2)), np.ones(2)),
        (-np.eye(2), np.zeros(2)),
        (np.full((2, 2), math.nan), np.zeros(2)),
        (np.eye(2), np.array([math.nan, 0.0])),
        (np.eye(2), np.array([math.inf, 0.0])),
    ],
)
def test_damaged_numbers_are_singular(a: Matrix, b: Vector) -> None:
    """A that no sum of squares can be, or numbers that are none, raise Singular and never give a score."""
    x = np.array([[1.0, 2.0], [0.5, 0.5]])
    with pytest.raises(Singular):
        odds_of(UpperConfidence(1.0), a, b, x)
    if not (a == -np.eye(2)).all():  # epsilon-greedy has no use for widths
        for explorer in (EpsilonGreedy(0.1), InverseGap(1.0)):
            with pytest.raises(Singular):
                odds_of(explorer, a, b, x)
    with pytest.raises(Singular):
        odds_of(Thompson(1.0), a, b, x, draws(1))


def test_draws_that_are_not_finite_are_singular() -> None:
    """Whatever made them so."""
    with pytest.raises(Singular):
        odds_of(Thompson(1.0), np.eye(1), np.zeros(1), np.ones((2, 1)), lambda _, shape: np.full(shape, math.nan))


@pytest.mark.parametrize("explorer", [EpsilonGreedy(0.1), InverseGap(1.0)])
def test_columns_that_are_not_finite_are_singular(explorer: Explorer) -> None:
    """A score that is no number chooses nothing."""
    with pytest.raises(Singular, match="a score is inf"):
        odds_of(explorer, np.eye(1), np.ones(1), np.array([[math.inf], [1.0]]))


@given(SHAPES, st.floats(0, 10), st.floats(0, 1), st.integers(1, 12))
def test_a_floor_is_shared_by_all(shape: tuple[int, int, int], alpha: float, floor: float, k: int) -> None:
    """Each row has its part of the floor, and of the rest what it would have without."""
    a, b = learned(*history(*shape))
    x, _ = history(shape[0] + 1, shape[1], k)
    pairs: list[tuple[Explorer, Explorer]] = [
        (UpperConfidence(alpha), UpperConfidence(alpha, floor)),
        (Thompson(0.5), Thompson(0.5, floor)),
    ]
    assert EpsilonGreedy(floor).floor == floor
    for without, explorer in pairs:
        plain, odds = odds_of(without, a, b, x, draws(1)), odds_of(explorer, a, b, x, draws(1))
        assert (without.floor, explorer.floor) == (0.0, floor)
        assert odds.random == [floor / k] * k
        expected = [(1 - floor) * p + floor / k for p in plain.propensities]
        assert odds.propensities == pytest.approx(expected, abs=1e-12)
        assert min(odds.propensities) >= floor / k
        assert odds.scores.tolist() == plain.scores.tolist()


@given(SHAPES, st.floats(1e-3, 1e6), st.integers(1, 12))
def test_inverse_gap_is_the_textbooks(shape: tuple[int, int, int], sharpness: float, k: int) -> None:
    """Each row has 1 / (k + sharpness·gap) but for the best, which has the rest."""
    a, b = learned(*history(*shape))
    x, _ = history(shape[0] + 1, shape[1], k)
    scores = (x @ theta(a, b)).tolist()
    odds = odds_of(InverseGap(sharpness), a, b, x)
    first = next(row for row in range(k) if scores[row] >= max(scores) - 1e-12)
    expected = [1 / (k + sharpness * max(scores[first] - score, 0.0)) for score in scores]
    expected[first] = 1 - sum(p for row, p in enumerate(expected) if row != first)
    assert odds.propensities == pytest.approx(expected, abs=1e-12)
    assert min(odds.propensities) > 0.0
    assert sum(odds.propensities) == pytest.approx(1.0, abs=1e-12)
    assert odds.propensities[first] >= max(odds.propensities) - 1e-12
    assert (odds.random, InverseGap(sharpness).floor) == ([0.0] * k, 0.0)


def test_thompson_wins_as_often_as_in_the_posterior() -> None:
    """Five rows with means .3, .25, .2, .1, 0 and covariance .15²(.5 I + .5 J): the best in so many of 300 x 64 draws.

    The numbers are those of an integration over the normal distribution.
    """
    covariance = 0.15**2 * (0.5 * np.eye(5) + 0.5 * np.ones((5, 5)))
    a = np.asarray(np.linalg.inv(covariance), np.float64)
    b = a @ np.array([0.3, 0.25, 0.2, 0.1, 0.0])
    wins = np.zeros(5)
    for seed in range(300):
        odds = odds_of(Thompson(1.0), a, b, np.eye(5), draws(seed))
        wins += DRAWS * np.array(odds.propensities)
        assert odds.scores == pytest.approx([0.3, 0.25, 0.2, 0.1, 0.0], abs=1e-9)
    expected = [0.5214, 0.2937, 0.1516, 0.0297, 0.0036]
    seen(np.rint(wins).astype(int).tolist(), expected)
    # The scale is that of the draws: a tenth of it leaves the best row nearly alone.
    assert np.mean([odds_of(Thompson(0.1), a, b, np.eye(5), draws(seed)).propensities[0] for seed in range(50)]) > 0.99


def test_thompson_is_a_function_of_its_draws() -> None:
    """These propensities every machine must find."""
    a, b = np.eye(2), np.array([0.3, 0.1])
    x = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.6]])
    found = odds_of(Thompson(0.5, 0.1), a, b, x, draws(7)).propensities
    assert found == pytest.approx([0.5114583333333333, 0.3848958333333333, 0.10364583333333333], abs=1e-12)
    assert found != odds_of(Thompson(0.5, 0.1), a, b, x, draws(8)).propensities


@pytest.mark.parametrize("explorer", [UpperConfidence(0.2, 0.1), Thompson(0.5), EpsilonGreedy(0.3)])
def test_another_floor(explorer: Explorer) -> None:
    """And nothing else; inverse gap weighting has none."""
    other = floored(explorer, 0.4)
    assert other.floor == 0.4
    assert floored(other, explorer.floor) == explorer
    assert floored(InverseGap(3.0), 0.4) == InverseGap(3.0)
