"""The explorers: against the textbook, by their propensities."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.bandit.explore import EpsilonGreedy, Explorer, UpperConfidence
from app.bandit.ridge import Matrix, Singular, Vector, theta
from tests.unit.app.bandit.samples import SHAPES, history, learned, no_draws


def best(explorer: Explorer, a: Matrix, b: Vector, x: Matrix) -> int:
    """The row with the largest propensity."""
    propensities = explorer.odds(a, b, x, no_draws).propensities
    return propensities.index(max(propensities))


@given(SHAPES, st.floats(0, 10), st.integers(1, 12))
def test_upper_confidence_is_the_textbooks(shape: tuple[int, int, int], alpha: float, k: int) -> None:
    """It chooses the row with the highest theta·x + alpha sqrt(xᵀ A⁻¹ x), computed here by the inverse, row by row."""
    a, b = learned(*history(*shape))
    x, _ = history(shape[0] + 1, shape[1], k)
    inverse = np.linalg.inv(a)
    scores = [float((inverse @ b) @ row + alpha * math.sqrt(row @ inverse @ row)) for row in x]
    odds = UpperConfidence(alpha).odds(a, b, x, no_draws)
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
    odds = EpsilonGreedy(epsilon).odds(a, b, x, no_draws)
    assert odds.scores.tolist() == scores.tolist()
    assert sum(odds.propensities) == pytest.approx(1.0, abs=1e-12)
    assert odds.random == [epsilon / k] * k
    chosen = (scores >= max(scores) - 1e-12).tolist().index(True)
    expected = [epsilon / k + (1 - epsilon) * (row == chosen) for row in range(k)]
    assert odds.propensities == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("explorer", [UpperConfidence(1.0), EpsilonGreedy(0.1)])
def test_the_first_of_equals_wins(explorer: UpperConfidence | EpsilonGreedy) -> None:
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
        UpperConfidence(1.0).odds(a, b, x, no_draws)
    if not (a == -np.eye(2)).all():  # epsilon-greedy has no use for widths
        with pytest.raises(Singular):
            EpsilonGreedy(0.1).odds(a, b, x, no_draws)
