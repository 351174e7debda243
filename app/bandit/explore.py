"""Exploration: from what a policy believes of k candidates to the one it picks, and how likely that pick was."""

import math
from typing import ClassVar, Final, Protocol

import msgspec

from app.bandit.features import Matrix, Vector
from app.bandit.ridge import Singular, solve, theta

__all__ = ["Choice", "Draw", "EpsilonGreedy", "Explorer", "UpperConfidence"]


class Draw(msgspec.Struct, frozen=True):
    """The randomness of one decision, drawn beforehand: two numbers in [0, 1)."""

    explore: float
    pick: float


class Choice(msgspec.Struct, frozen=True):
    """The picked row, its score, the probability it had of being picked, and whether it was picked at random."""

    index: int
    score: float
    probability: float
    explored: bool


class Explorer(Protocol):
    """How to pick one of the rows of x (k x d) given A (d x d) and b (d). Raises Singular."""

    randomized: ClassVar[bool]

    def choose(self, a: Matrix, b: Vector, x: Matrix, draw: Draw) -> Choice: ...


# Equal rows may differ in their last bits, for the linear algebra rounds by position; the first of them shall win.
_TIE: Final = 1e-12


def _first_best(scores: Vector) -> int:
    return int((scores >= scores.max() - _TIE).argmax())


def _finite(score: float) -> float:
    if not math.isfinite(score):
        raise Singular(f"a score is {score}")
    return score


class UpperConfidence(msgspec.Struct, frozen=True):
    """LinUCB: the first row with the highest x·theta + alpha·sqrt(xᵀA⁻¹x) (Li et al. 2010, Algorithm 1)."""

    alpha: float

    randomized: ClassVar[bool] = False

    def choose(self, a: Matrix, b: Vector, x: Matrix, draw: Draw) -> Choice:
        means, widths = solve(a, b, x)
        scores = means + self.alpha * widths
        best = _first_best(scores)
        return Choice(best, _finite(float(scores[best])), 1.0, explored=False)


class EpsilonGreedy(msgspec.Struct, frozen=True):
    """With probability epsilon any row, each as likely; otherwise the first with the highest x·theta
    (Sutton and Barto 2018, section 2.2)."""

    randomized: ClassVar[bool] = True

    epsilon: float

    def choose(self, a: Matrix, b: Vector, x: Matrix, draw: Draw) -> Choice:
        scores = x @ theta(a, b)
        best = _first_best(scores)
        explored = draw.explore < self.epsilon
        index = int(draw.pick * len(x)) if explored else best
        probability = self.epsilon / len(x) + (1.0 - self.epsilon if index == best else 0.0)
        return Choice(index, _finite(float(scores[index])), probability, explored)
