"""Exploration: from a user's model and k candidates to the probability of choosing each."""

import math
from collections.abc import Callable
from typing import Final

import msgspec
import numpy as np

from app.bandit.ridge import Matrix, Singular, Solved, Solver, Vector, inverses, parts, roots, thetas, widths

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
    "over_distinct",
    "scores_of",
]

# Standard normal numbers of a shape.
Normals = Callable[[tuple[int, int]], Matrix]


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
    """How a policy explores. What depends on no candidate is solved first, for any number of models at once."""

    @property
    def solver(self) -> Solver:
        """Solves models for `odds_of`."""
        raise NotImplementedError

    @property
    def floor(self) -> float:
        """What all candidates share at least of the probability, each an equal part."""
        raise NotImplementedError

    def odds_of(self, solved: Solved, x: Matrix, normals: Normals) -> Odds:
        """The odds of the k rows of x (k x d), for what `solver` gave. Raises Singular."""
        raise NotImplementedError

    def odds(self, a: Matrix, b: Vector, x: Matrix, normals: Normals) -> Odds:
        """The odds of the k rows of x (k x d) for A (d x d) and b (d). Raises Singular."""
        return self.odds_of(self.solved(a, b), x, normals)

    def solved(self, a: Matrix, b: Vector) -> Solved:
        """What `solver` gives for one model. Raises Singular."""
        [found] = self.solver([(a, b)])
        if isinstance(found, Singular):
            raise found
        return found


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


def _first_best(scores: Vector) -> int:
    best = scores.max()
    if not math.isfinite(best):
        raise Singular(f"a score is {best}")
    return int((scores >= best - _TIE).argmax())


class UpperConfidence(Explorer, frozen=True):
    """LinUCB: the first row with the highest x·theta + alpha·sqrt(xᵀA⁻¹x) (Li et al. 2010, Algorithm 1); with
    probability `floor` any row instead."""

    alpha: float
    floor: float = 0.0

    @property
    def solver(self) -> Solver:
        return inverses

    def odds_of(self, solved: Solved, x: Matrix, normals: Normals) -> Odds:
        bonus = self.alpha * widths(solved, x)
        return _mostly_best(x @ solved.theta + bonus, self.floor, solved.theta, bonus)


class EpsilonGreedy(Explorer, frozen=True):
    """With probability epsilon any row, all equally likely; otherwise the first row with the highest x·theta
    (Sutton and Barto 2018, section 2.2)."""

    epsilon: float

    @property
    def solver(self) -> Solver:
        return thetas

    @property
    def floor(self) -> float:
        return self.epsilon

    def odds_of(self, solved: Solved, x: Matrix, normals: Normals) -> Odds:
        return _mostly_best(x @ solved.theta, self.epsilon, solved.theta)


class Thompson(Explorer, frozen=True):
    """Thompson sampling by draws: a row's propensity is the share of 64 posterior draws in which it is the best.

    `scale` is the standard deviation of a reward; with probability `floor` it is any row instead (Thompson 1933;
    Agrawal and Goyal 2013, "Thompson sampling for contextual bandits with linear payoffs").

    The propensities are exact given the draws, which the seed determines.
    """

    scale: float
    floor: float = 0.0

    @property
    def solver(self) -> Solver:
        return roots

    def odds_of(self, solved: Solved, x: Matrix, normals: Normals) -> Odds:
        means, count = x @ solved.theta, len(x)
        draws = means[:, None] + self.scale * (parts(solved, x) @ normals((x.shape[1], DRAWS)))
        if not np.isfinite(draws).all():
            raise Singular("a score is not finite")
        wins = np.bincount(draws.argmax(axis=0), minlength=count)
        random = self.floor / count
        shares: list[float] = ((1.0 - self.floor) / DRAWS * wins + random).tolist()
        return Odds(means, shares, [random] * count, solved.theta)


class InverseGap(Explorer, frozen=True):
    """Inverse gap weighting: a row whose x·theta is g below the best has 1 / (k + sharpness·g), the first best the rest
    (Abe and Long 1999; Foster and Rakhlin 2020, "Beyond UCB", SquareCB)."""

    sharpness: float

    @property
    def solver(self) -> Solver:
        return thetas

    @property
    def floor(self) -> float:
        return 0.0

    def odds_of(self, solved: Solved, x: Matrix, normals: Normals) -> Odds:
        scores = x @ solved.theta
        best = _first_best(scores)
        parts = 1.0 / (len(scores) + self.sharpness * np.maximum(scores[best] - scores, 0.0))
        parts[best] = 0.0
        parts[best] = 1.0 - parts.sum()
        propensities: list[float] = parts.tolist()
        return Odds(scores, propensities, [0.0] * len(scores), solved.theta)


def _mostly_best(scores: Vector, floor: float, estimate: Vector, bonus: Vector | None = None) -> Odds:
    random = [floor / len(scores)] * len(scores)
    propensities = list(random)
    propensities[_first_best(scores)] += 1.0 - floor
    return Odds(scores, propensities, random, estimate, bonus)


def over_distinct(explorer: Explorer, solved: Solved, x: Matrix, normals: Normals) -> Odds:
    """The odds of the rows of `x`, of which those that are equal bit for bit share what one of them alone would have.

    Otherwise rounding would choose among them, and a candidate that is sent twice would be explored twice as much.
    """
    x, group = _distinct(x)
    odds = explorer.odds_of(solved, x, normals)
    if group is None:
        return odds
    counts = np.bincount(group).tolist()
    return Odds(
        odds.scores[group],
        [odds.propensities[place] / counts[place] for place in group],
        [odds.random[place] / counts[place] for place in group],
        odds.theta,
        None if odds.bonus is None else odds.bonus[group],
    )


def scores_of(x: Matrix, theta: Vector, bonus: Vector | None, *, distinct: bool) -> Vector:
    """The scores of the rows of `x` that an explorer gave them, to the last bit: from its `theta` and `bonus`.

    With `distinct` they are those that `over_distinct` gave.
    """
    group = None
    if distinct:
        x, group = _distinct(x)
    scores: Vector = x @ theta
    if bonus is not None:
        scores = scores + (bonus if group is None else bonus[_firsts(group)])
    return scores if group is None else scores[group]


def _distinct(x: Matrix) -> tuple[Matrix, list[int] | None]:
    """The rows of `x` that differ, and for each row which of them it is; None if all differ."""
    x = x + 0.0  # turns -0.0 into 0.0, which has other bits
    text, size = x.tobytes(), 8 * x.shape[1]
    rows = [text[at : at + size] for at in range(0, len(text), size)]
    places = dict(zip(dict.fromkeys(rows), range(len(rows)), strict=False))
    if len(places) == len(rows):
        return x, None
    group = [places[row] for row in rows]
    return x[_firsts(group)], group


def _firsts(group: list[int]) -> list[int]:
    """Where each group has its first member."""
    return [group.index(place) for place in range(max(group) + 1)]
