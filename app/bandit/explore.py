"""Exploration: from a user's model and k candidates to the probability of choosing each."""

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import filterfalse, repeat
from typing import Final

import msgspec
import numpy as np

from app.bandit.ridge import Matrix, Singular, Solved, Stack, Vector, inverses, parts, roots, thetas, widths

__all__ = [
    "DRAWS",
    "EpsilonGreedy",
    "Explorer",
    "InverseGap",
    "Normals",
    "Odds",
    "Thompson",
    "UpperConfidence",
    "floored",
]

# Standard normal numbers of a shape, by the seed of a decision.
Normals = Callable[[int, tuple[int, int]], Matrix]


class Odds(msgspec.Struct, frozen=True):
    """The score and the propensity of each of k candidates; the propensities add up to 1.

    `random` is the part of each propensity that comes from a random choice alone. A score is x·`theta` plus a `bonus`
    for what is not known yet, of policies that have one.
    """

    scores: Vector
    propensities: list[float]
    random: list[float]
    theta: Vector
    bonus: Vector | None = None


class Explorer(msgspec.Struct, frozen=True):
    """How a policy explores, in n decisions at once: numpy takes longer to call than to compute a small one.

    The numbers of each are to the last bit those that it would have alone.
    """

    @property
    def floor(self) -> float:
        """What all candidates share at least of the probability, each an equal part."""
        raise NotImplementedError

    def solved(self, a: Stack, b: Matrix) -> Solved:
        """What `odds_of` needs, and what depends on no candidate, of A (n x d x d) and b (n x d). Raises Singular if
        one of them cannot be solved."""
        raise NotImplementedError

    def odds_of(self, solved: Solved, x: Stack, seeds: Sequence[int], normals: Normals) -> list[Odds]:
        """The odds of the k rows of each decision in x (n x k x d). Raises Singular if one of them has none."""
        raise NotImplementedError


def floored(explorer: Explorer, floor: float) -> Explorer:
    """The same explorer with another floor; one that has none by its nature stays as it is."""
    match explorer:
        case UpperConfidence() | Thompson():
            return msgspec.structs.replace(explorer, floor=floor)
        case EpsilonGreedy():
            return EpsilonGreedy(floor)
    return explorer


# Scores of equal rows may differ in their last bits, since linear algebra rounds by position; the first wins.
_TIE: Final = 1e-12
# Posterior draws of one decision, of which Thompson sampling takes the shares.
DRAWS: Final = 64
# So few scores are compared sooner than numpy is called five times.
_FEW: Final = 20


def _first_best(scores: Matrix) -> list[int]:
    """The best of each row of the scores (n x k)."""
    if scores.size <= _FEW:
        rows: list[list[float]] = scores.tolist()
        if all(map(math.isfinite, map(sum, rows))):
            least = [max(row) - _TIE for row in rows]
            return [[score >= low for score in row].index(True) for row, low in zip(rows, least, strict=True)]
    best = np.maximum.reduce(scores, axis=1, keepdims=True)
    if odd := [*filterfalse(math.isfinite, best.ravel().tolist())]:
        raise Singular(f"a score is {odd[0]}")
    found: list[int] = (scores >= best - _TIE).argmax(axis=1).tolist()
    return found


class UpperConfidence(Explorer, frozen=True):
    """LinUCB: the first row with the highest x·theta + alpha·sqrt(xᵀA⁻¹x) (Li et al. 2010, Algorithm 1); with
    probability `floor` any row instead."""

    alpha: float
    floor: float = 0.0

    def solved(self, a: Stack, b: Matrix) -> Solved:
        return inverses(a, b)

    def odds_of(self, solved: Solved, x: Stack, seeds: Sequence[int], normals: Normals) -> list[Odds]:
        bonus = self.alpha * widths(solved, x)
        return _mostly_best(np.matvec(x, solved.theta) + bonus, self.floor, solved.theta, bonus)


class EpsilonGreedy(Explorer, frozen=True):
    """With probability epsilon any row, all equally likely; otherwise the first row with the highest x·theta
    (Sutton and Barto 2018, section 2.2)."""

    epsilon: float

    @property
    def floor(self) -> float:
        return self.epsilon

    def solved(self, a: Stack, b: Matrix) -> Solved:
        return thetas(a, b)

    def odds_of(self, solved: Solved, x: Stack, seeds: Sequence[int], normals: Normals) -> list[Odds]:
        return _mostly_best(np.matvec(x, solved.theta), self.epsilon, solved.theta, repeat(None))


class Thompson(Explorer, frozen=True):
    """Thompson sampling by draws: a row's propensity is the share of 64 posterior draws in which it is the best.

    `scale` is the standard deviation of a reward; with probability `floor` it is any row instead (Thompson 1933;
    Agrawal and Goyal 2013, "Thompson sampling for contextual bandits with linear payoffs").

    The propensities are exact given the draws, which the seed determines.
    """

    scale: float
    floor: float = 0.0

    def solved(self, a: Stack, b: Matrix) -> Solved:
        return roots(a, b)

    def odds_of(self, solved: Solved, x: Stack, seeds: Sequence[int], normals: Normals) -> list[Odds]:
        _, count, d = x.shape
        means = np.matvec(x, solved.theta)
        draws = parts(solved, x) @ np.array([normals(seed, (d, DRAWS)) for seed in seeds])
        draws = means[:, :, None] + self.scale * draws
        if not np.isfinite(draws).all():
            raise Singular("a score is not finite")
        wins = np.array([np.bincount(best, minlength=count) for best in draws.argmax(axis=1)])
        random = self.floor / count
        shares = ((1.0 - self.floor) / DRAWS * wins + random).tolist()
        return list(map(Odds, means, shares, repeat([random] * count), solved.theta))


class InverseGap(Explorer, frozen=True):
    """Inverse gap weighting: a row whose x·theta is g below the best has 1 / (k + sharpness·g), the first best the rest
    (Abe and Long 1999; Foster and Rakhlin 2020, "Beyond UCB", SquareCB)."""

    sharpness: float

    @property
    def floor(self) -> float:
        return 0.0

    def solved(self, a: Stack, b: Matrix) -> Solved:
        return thetas(a, b)

    def odds_of(self, solved: Solved, x: Stack, seeds: Sequence[int], normals: Normals) -> list[Odds]:
        n, count, _ = x.shape
        scores = np.matvec(x, solved.theta)
        best = np.arange(n), _first_best(scores)
        parts = 1.0 / (count + self.sharpness * np.maximum(scores[best][:, None] - scores, 0.0))
        parts[best] = 0.0
        parts[best] = 1.0 - parts.sum(axis=1)
        return list(map(Odds, scores, parts.tolist(), repeat([0.0] * count), solved.theta))


def _mostly_best(scores: Matrix, floor: float, theta: Matrix, bonus: Iterable[Vector | None]) -> list[Odds]:
    count = scores.shape[1]
    random = [floor / count] * count
    most = floor / count + (1.0 - floor)
    propensities = []
    for best in _first_best(scores):
        propensities.append(shares := random.copy())
        shares[best] = most
    return list(map(Odds, scores, propensities, repeat(random), theta, bonus))
