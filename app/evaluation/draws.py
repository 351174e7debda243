"""Whether what was drawn matches the propensities that were logged; if not, every estimate would be wrong."""

import math
from typing import Final

import msgspec
import numpy as np

from app.bandit.ridge import Matrix, Vector
from app.evaluation.logged import Ints, Logged
from app.evaluation.sums import Sums
from app.evaluation.tails import chi_square_tail, normal_tails
from app.evaluation.weighed import usable

__all__ = ["Draws", "by_likeliest", "by_position", "together"]

# Positions from here on count as one.
_POSITIONS: Final = 16
# A position with a smaller variance is left to the others: a sum is hardly normal yet.
_LEAST_VARIANCE: Final = 5.0
# Decisions that are looked at together: 13 MB.
_BATCH: Final = 100_000
_SINGULAR: Final = 1e-9


class Draws(msgspec.Struct, frozen=True):
    """The chance `p` of draws as far from the propensities as these, and the hour since which they are farthest."""

    p: float
    since: int


def by_likeliest(sums: Sums) -> Draws:
    """How often the likeliest candidate was drawn: z = Σ(1[A = argmax h] - h_max) / √Σ h_max (1 - h_max).

    The draws are independent given the propensities, so z is nearly normal (Brown 1971, "Martingale central limit
    theorems", theorem 2). `sums` are those of the propensities themselves.
    """
    gap, variance = sums["hits"] - sums["h_max"], sums["h_variance"]
    return Draws(normal_tails(_z(gap.sum(), variance.sum())), _since(sums.hour, gap, variance))


def by_position(logged: Logged) -> Draws:
    """How often each of the first 15 positions was drawn, and any later one.

    With P the propensities by position, the observed minus the expected numbers have the covariance diag(ΣP) - ΣPPᵀ;
    their square in its metric is chi-square with its rank as degrees of freedom (Rao 1973, "Linear statistical
    inference and its applications", section 3b.4). Positions that hardly vary are left out.
    """
    counts = logged.matured & logged.shown & usable(logged)
    hours, at = np.unique(logged.hour, return_inverse=True)
    covariance = np.zeros((_POSITIONS, _POSITIONS))
    gaps, variances = np.zeros((len(hours), _POSITIONS)), np.zeros((len(hours), _POSITIONS))
    for first in range(0, logged.n, _BATCH):
        part = slice(first, min(first + _BATCH, logged.n))
        p = _table(logged, part.start, part.stop) * counts[part, None]
        np.add.at(gaps, at[part], -p)
        np.add.at(gaps, (at[part], np.minimum(logged.chosen[part], _POSITIONS - 1)), counts[part])
        np.add.at(variances, at[part], p * (1.0 - p))
        covariance += np.diag(p.sum(axis=0)) - p.T @ p
    gap = gaps.sum(axis=0)
    kept = np.flatnonzero(np.diag(covariance) >= _LEAST_VARIANCE)
    if not len(kept):
        return Draws(1.0, 0)
    values, vectors = np.linalg.eigh(covariance[np.ix_(kept, kept)])
    regular = values > _SINGULAR * values[-1]
    apart = (vectors.T @ gap[kept])[regular]
    p_value = chi_square_tail(float(np.sum(apart**2 / values[regular])), int(regular.sum()))
    worst = kept[np.argmax(np.abs(gap[kept]) / np.sqrt(np.diag(covariance)[kept]))]
    return Draws(p_value, _since(hours, gaps[:, worst], variances[:, worst]))


def together(first: Draws, second: Draws) -> Draws:
    """Both as one test, by Bonferroni: twice the smaller chance, and what is said with it."""
    less = min(first, second, key=lambda draws: draws.p)
    return Draws(min(1.0, 2.0 * less.p), less.since)


def _table(logged: Logged, first: int, last: int) -> Matrix:
    """The propensities of decisions from `first` up to `last`, by position; nan counts as 0."""
    starts = logged.starts[first : last + 1]
    sizes = np.diff(starts)
    position = np.minimum(np.arange(starts[0], starts[-1]) - np.repeat(starts[:-1], sizes), _POSITIONS - 1)
    place = np.repeat(np.arange(last - first), sizes) * _POSITIONS + position
    h = np.nan_to_num(logged.propensities[starts[0] : starts[-1]])
    found = np.bincount(place, h, (last - first) * _POSITIONS).reshape(last - first, _POSITIONS)
    return np.asarray(found, np.float64)


def _z(gap: float, variance: float) -> float:
    return gap / math.sqrt(variance) if variance > 0.0 else 0.0


def _since(hour: Ints, gap: Vector, variance: Vector) -> int:
    """The hour from which on to the end |Σ gap| / √Σ variance is greatest; 0 where nothing varies.

    The estimate of a change's place by likelihood (Page 1955, "A test for a change in a parameter occurring at an
    unknown point", section 2).
    """
    if not variance.sum() > 0.0:
        return 0
    hours, at = np.unique(hour, return_inverse=True)
    gaps, variances = (np.bincount(at, each)[::-1].cumsum()[::-1] for each in (gap, variance))
    z = np.abs(gaps) / np.sqrt(np.where(variances > 0.0, variances, np.inf))
    return int(hours[np.argmax(z)])
