"""Exploration: from a user's model and k candidates to the probability of choosing each."""

import math
from typing import Final, Protocol

import msgspec

from app.bandit.ridge import Matrix, Singular, Vector, solve, theta

__all__ = ["EpsilonGreedy", "Explorer", "Odds", "UpperConfidence"]


class Odds(msgspec.Struct, frozen=True):
    """The score and the propensity of each of k candidates; the propensities add up to 1.

    `random` is the part of each propensity that comes from exploration alone.
    """

    scores: Vector
    propensities: list[float]
    random: float = 0.0


class Explorer(Protocol):
    """The odds of the k rows of x (k x d) for A (d x d) and b (d). Raises Singular."""

    def odds(self, a: Matrix, b: Vector, x: Matrix) -> Odds: ...


# Scores of equal rows may differ in their last bits, since linear algebra rounds by position; the first wins.
_TIE: Final = 1e-12


def _first_best(scores: Vector) -> int:
    best = scores.max()
    if not math.isfinite(best):
        raise Singular(f"a score is {best}")
    return int((scores >= best - _TIE).argmax())


class UpperConfidence(msgspec.Struct, frozen=True):
    """LinUCB: the first row with the highest x·theta + alpha·sqrt(xᵀA⁻¹x) (Li et al. 2010, Algorithm 1)."""

    alpha: float

    def odds(self, a: Matrix, b: Vector, x: Matrix) -> Odds:
        means, widths = solve(a, b, x)
        scores = means + self.alpha * widths
        propensities = [0.0] * len(scores)
        propensities[_first_best(scores)] = 1.0
        return Odds(scores, propensities)


class EpsilonGreedy(msgspec.Struct, frozen=True):
    """With probability epsilon any row, all equally likely; otherwise the first row with the highest x·theta
    (Sutton and Barto 2018, section 2.2)."""

    epsilon: float

    def odds(self, a: Matrix, b: Vector, x: Matrix) -> Odds:
        scores = x @ theta(a, b)
        random = self.epsilon / len(scores)
        propensities = [random] * len(scores)
        propensities[_first_best(scores)] += 1.0 - self.epsilon
        return Odds(scores, propensities, random)
