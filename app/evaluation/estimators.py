"""What a policy would have earned, in the scale of R: estimates with 95 % intervals, from sums."""

import math
from typing import Final, Literal

import msgspec
import numpy as np

from app.bandit.ridge import Vector
from app.evaluation.logged import Ints
from app.evaluation.sums import Sums

__all__ = ["FEWEST", "Clusters", "Estimate", "clusters", "dr", "ips", "snips"]

# With fewer users, decisions are gathered by time instead.
FEWEST: Final = 20
# The normal distribution's 97.5 % quantile (Abramowitz and Stegun 1964, table 26.5).
_WIDTH: Final = 1.959963984540054


class Estimate(msgspec.Struct, frozen=True):
    """An estimate, and the ends of its 95 % interval; None with fewer than two clusters."""

    estimate: float
    low: float | None
    high: float | None

    def scaled(self, low: float, high: float) -> "Estimate":
        """In units of a reward from `low` to `high` instead of 0 to 1."""
        width = high - low
        ends = [None if end is None else low + width * end for end in (self.low, self.high)]
        return Estimate(low + width * self.estimate, *ends)


class Clusters(msgspec.Struct, frozen=True):
    """Which of `count` clusters each cell of the sums is in: `of` (k) has numbers from 0, `kind` says what they are."""

    kind: Literal["user", "bucket", "hours"]
    of: Ints
    count: int


def clusters(sums: Sums) -> Clusters:
    """Users, or buckets of them; with fewer than 20 of these, blocks of hours if there are more of them.

    Decisions of one cluster may depend on each other. Blocks of hours that follow each other are as in the block
    bootstrap (Künsch 1989, "The jackknife and the bootstrap for general stationary observations"), whose best length
    grows with the cube root of the series; they are shorter where fewer than 20 would be left.
    """
    counted = sums["known"] > 0
    of_users = np.unique(sums.cluster, return_inverse=True)[1]
    count = len(np.unique(sums.cluster[counted]))
    if count < FEWEST:
        hours, of_hours = np.unique(sums.hour, return_inverse=True)
        length = max(1, min(round(len(hours) ** (1 / 3)), len(hours) // FEWEST))
        blocks = of_hours // length
        if len(np.unique(blocks[counted])) > count:
            return Clusters("hours", blocks, len(np.unique(blocks[counted])))
    return Clusters(sums.by, of_users, count)


def ips(sums: Sums, by: Clusters) -> Estimate:
    """Σ w R / n. Of the propensities themselves it is the mean reward.

    Horvitz and Thompson 1952, "A generalization of sampling without replacement from a finite universe"; for policies
    Dudík, Langford and Li 2011, "Doubly robust policy evaluation and learning", section 2.
    """
    n = sums.total("known")
    value = sums.total("wr") / n
    return _interval(value, sums["wr"] - value * sums["known"], n, by)


def snips(sums: Sums, by: Clusters) -> Estimate:
    """Σ w R / Σ w.

    Swaminathan and Joachims 2015, "The self-normalized estimator for counterfactual learning", section 5. The interval
    is that of its influence function, w (R - value) / mean w: Hájek's ratio (Owen 2013, "Monte Carlo theory, methods
    and examples", section 9.2).
    """
    total = sums.total("known_w")
    value = sums.total("wr") / total
    return _interval(value, sums["wr"] - value * sums["known_w"], total, by)


def dr(sums: Sums, by: Clusters) -> Estimate:
    """The mean of Σ_a e q(a) + w (R - q(A)), the terms that `regression` makes.

    Dudík, Langford and Li 2011, section 2.
    """
    n = sums.total("known")
    value = sums.total("dr") / n
    return _interval(value, sums["dr"] - value * sums["known"], n, by)


def _interval(value: float, influence: Vector, over: float, by: Clusters) -> Estimate:
    """`value` ± 1.96 standard errors, from the `influence` of cells, which adds up to 0, divided by `over`.

    With G clusters the variance is G/(G-1) Σ (Σ of a cluster's influence)²: Liang and Zeger 1986, "Longitudinal data
    analysis using generalized linear models", theorem 2, with the factor of Cameron and Miller 2015, "A practitioner's
    guide to cluster-robust inference", section II.
    """
    if by.count < 2:
        return Estimate(value, None, None)
    together = np.bincount(by.of, influence)
    width = _WIDTH * math.sqrt(by.count / (by.count - 1) * float(together @ together)) / over
    return Estimate(value, value - width, value + width)
