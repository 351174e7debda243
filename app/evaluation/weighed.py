"""One policy beside what was drawn from: the weight of each logged decision, and what is summed up from it."""

import msgspec
import numpy as np

from app.bandit.ridge import Matrix, Vector
from app.evaluation.logged import Flags, Ints, Logged

__all__ = ["Weighed", "chosen_places", "outcomes", "per_decision", "usable"]

# Propensities add up to 1 but for this much, and a difference of the gate may be below -1 by as much.
_ROUNDING = 1e-6


class Weighed(msgspec.Struct, frozen=True, kw_only=True):
    """n decisions with the probabilities `e` (m) of a policy, those of the champion `c` (m), and `h` (m), the
    propensities; all three are 0 in decisions that do not count.

    `counts` (n): matured, shown, with usable propensities and scored; `known` (n): of these, those with an outcome.
    `weight` (n): e/h of the chosen one; `ratio` (m): e/h of each, 0 where h is 0.
    """

    logged: Logged
    h: Vector
    e: Vector
    c: Vector
    scored: Flags
    counts: Flags
    known: Flags
    weight: Vector
    ratio: Vector

    @classmethod
    def of(cls, logged: Logged, target: Vector) -> "Weighed":
        sizes = np.diff(logged.starts)
        scored = ~np.isnan(per_decision(logged, target))
        counts = logged.matured & logged.shown & usable(logged) & scored
        inside = np.repeat(counts, sizes)
        h, e = np.where(inside, logged.propensities, 0.0), np.where(inside, target, 0.0)
        c = np.where(inside, logged.by_policy[logged.champion], 0.0)
        ratio = np.divide(e, h, out=np.zeros_like(e), where=h > 0.0)
        known = counts & ~np.isnan(outcomes(logged, logged.reward))
        weight = ratio[chosen_places(logged)]
        return cls(logged=logged, h=h, e=e, c=c, scored=scored, counts=counts, known=known, weight=weight, ratio=ratio)

    def mass_over(self, weight: float) -> Vector:
        """The policy's mass on candidates whose weight is greater (n)."""
        return per_decision(self.logged, np.where(self.ratio > weight, self.e, 0.0))

    def masses(self, count: int) -> Matrix:
        """Its mass on candidates whose weight is over 2, 4, ..., 2^count (count x n)."""
        found = np.zeros((count, self.logged.n))
        places = np.flatnonzero(self.ratio > 2.0)
        decision = np.searchsorted(self.logged.starts, places, side="right") - 1
        for power in range(1, count + 1):
            over = self.ratio[places] > 2.0**power
            places, decision = places[over], decision[over]
            found[power - 1] = np.bincount(decision, self.e[places], self.logged.n)
        return found

    def columns(self) -> dict[str, Vector]:
        """What each decision adds to the sums (n each), but for what is said of weights over a power of two."""
        logged, w, matured = self.logged, self.weight, self.logged.matured & self.logged.shown
        r = np.where(self.known, outcomes(logged, logged.reward), 0.0)
        chi = per_decision(logged, self.ratio * self.e)
        h_max, hit = self._likeliest()
        lost = self.counts & ~self.known
        mean_e = per_decision(logged, self.h * self.e)
        apart = self.e[chosen_places(logged)] - mean_e
        spread = per_decision(logged, self.h * self.e * self.e) - mean_e**2
        found = {
            "decisions": np.ones(logged.n),
            "matured": matured,
            "rewarded": matured & ~np.isnan(logged.reward),
            "open": ~logged.matured,
            "unlogged": matured & ~usable(logged),
            "n": self.counts,
            "known": self.known,
            "r": r,
            "wr": w * r,
            "known_w": np.where(self.known, w, 0.0),
            "w": w,
            "w2": w * w,
            "w_max": w,
            "chi": chi,
            "off": per_decision(logged, np.where(self.h > 0.0, 0.0, self.e)),
            "w_variance": np.maximum(chi - per_decision(logged, np.where(self.h > 0.0, self.e, 0.0)) ** 2, 0.0),
            "explores": self._explores(self.e),
            "champion_explores": self._explores(np.nan_to_num(self.c, nan=1.0)),
            "hits": hit,
            "h_max": h_max,
            "h_variance": h_max * (1.0 - h_max),
            "lost_hits": np.where(lost, hit - h_max, 0.0),
            "lost_h_variance": np.where(lost, h_max * (1.0 - h_max), 0.0),
            "lost_e": np.where(lost, apart, 0.0),
            "lost_e_variance": np.where(lost, spread, 0.0),
        }
        return {name: np.asarray(column, np.float64) for name, column in (found | self._gate()).items()}

    def _gate(self) -> dict[str, Vector | Flags]:
        """The gate's columns: of decisions before the first open one, with the outcome as it stood at the deadline."""
        logged, at = self.logged, chosen_places(self.logged)
        prefix = np.logical_and.accumulate(logged.matured) & self.counts
        prefix &= ~np.isnan(per_decision(logged, logged.by_policy[logged.champion]))
        r = outcomes(logged, logged.reward_in_time)
        counted = prefix & ~np.isnan(r)
        scale = np.where(counted, 1.0 - logged.share, 0.0)
        difference = np.divide(self.e[at] - self.c[at], self.h[at], out=np.zeros(logged.n), where=counted) * scale
        r = np.where(counted, r, 0.0)
        d, u = difference * r, difference * (1.0 - r)
        return {
            "gate_n": counted,
            "gate_lost": prefix & ~counted,
            "share": np.where(counted, logged.share, 0.0),
            "d": d,
            "d2": d * d,
            "u": u,
            "u2": u * u,
            "broken": np.minimum(d, u) < -1.0 - _ROUNDING,
        }

    def _likeliest(self) -> tuple[Vector, Flags]:
        """The propensity of the likeliest candidate (n), the first of equal ones, and whether it was drawn (n)."""
        logged = self.logged
        sizes = np.diff(logged.starts)
        h_max = np.maximum.reduceat(self.h, logged.starts[:-1]) if logged.n else np.zeros(0)
        places = np.where(self.h == np.repeat(h_max, sizes), np.arange(len(self.h)), len(self.h))
        first = np.minimum.reduceat(places, logged.starts[:-1]) if logged.n else places
        return h_max, (first == chosen_places(logged)) & self.counts

    def _explores(self, probabilities: Vector) -> Vector:
        logged = self.logged
        most = np.maximum.reduceat(probabilities, logged.starts[:-1]) if logged.n else np.zeros(0)
        return np.where(self.counts, 1.0 - most, 0.0)


def per_decision(logged: Logged, values: Vector) -> Vector:
    """Values of candidates (m) added up over those of each decision (n)."""
    return np.add.reduceat(values, logged.starts[:-1]) if logged.n else np.zeros(0)


def chosen_places(logged: Logged) -> Ints:
    """The places of the chosen ones among all candidates (n)."""
    return logged.starts[:-1] + logged.chosen


def usable(logged: Logged) -> Flags:
    """Where the propensities are known, are a distribution, and give the chosen one a chance (n)."""
    h = logged.propensities
    sums_to_one = np.abs(per_decision(logged, h) - 1.0) <= _ROUNDING
    impossible = per_decision(logged, np.where(h < 0.0, 1.0, 0.0)) > 0.0
    return np.asarray(sums_to_one & ~impossible & (h[chosen_places(logged)] > 0.0), np.bool_)


def outcomes(logged: Logged, reward: Vector) -> Vector:
    """R (n): `reward` from 0 for the loop's lowest to 1 for its highest, silence as the loop counts it, else nan."""
    silent = np.nan if logged.missing is None else logged.missing
    return (np.where(np.isnan(reward), silent, reward) - logged.low) / (logged.high - logged.low)
