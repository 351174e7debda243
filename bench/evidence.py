"""How often the gate and the intervals err, by simulation: where the truth is known, and worse than a real log.

The gate is read again and again while both policies learn from what is served and the users change.
"""

import math
from collections.abc import Iterator
from functools import cache
from typing import Final

import msgspec
import numpy as np

from app.bandit.ridge import Matrix, Vector
from app.evaluation.estimators import Estimate, clusters, dr, ips, snips
from app.evaluation.gate import log_e
from app.evaluation.logged import Logged
from app.evaluation.overlap import effective
from app.evaluation.regression import predicted, terms
from app.evaluation.sums import reduced
from bench.report import Check, Section

__all__ = ["Peeked", "coverage", "intervals", "log_of", "peeked", "sections", "truth"]

# A two-sided gate of one challenger promotes, or finds harm, at this evidence.
_ENOUGH: Final = math.log(2 / 0.05)
_NORMAL: Final = 1.96
_SHARES: Final = (0.0, 0.1, 0.5)
_K: Final = 5
_EPSILON: Final = 0.2
_LOOK: Final = 50


class Peeked(msgspec.Struct, frozen=True):
    """Of each run, whether at any look the gate or a 95 % normal interval promoted, and whether it missed the truth.

    The truth is the mean so far of the difference between challenger and champion.
    """

    share: Vector
    promoted: Vector
    missed: Vector
    normal_promoted: Vector
    normal_missed: Vector


def peeked(runs: int, decisions: int, *, gain: float, seed: int) -> Peeked:
    """So many runs at each of three canary shares (0, 0.1, 0.5), looked at every 50 decisions.

    Champion and challenger are epsilon-greedy over forgetting means of the rewards, forgetting at different speeds;
    both learn from whatever is served. Rewards are 0 or 1. Without `gain` all candidates are equally good, at a level
    that drifts, so that there is no difference although the policies differ all the time. With it, the candidates'
    chances drift apart and back by `gain`.
    """
    chance = np.random.default_rng(seed)
    share = np.repeat(_SHARES, runs)
    count, every = len(share), np.arange(len(share))
    learned = np.full((2, count, _K), 0.5)
    forget, rate = np.array([0.95, 0.8])[:, None], chance.uniform(20.0, 400.0, (count, _K))
    phase, level = chance.uniform(0.0, 2 * math.pi, (count, _K)), chance.uniform(50.0, 500.0, count)
    sums, truth_sum = np.zeros((4, count)), np.zeros(count)
    found = np.zeros((4, count), bool)
    for t in range(1, decisions + 1):
        c, e = (_greedy(learned[place] + 1e-6 * chance.random((count, _K))) for place in (0, 1))
        h = c + share[:, None] * (e - c)
        mean = 0.5 + 0.2 * np.sin(t / level)[:, None] + gain * np.sin(t / rate + phase)
        chosen = (h.cumsum(axis=1) > chance.random((count, 1))).argmax(axis=1)
        reward = (chance.random(count) < mean[every, chosen]).astype(np.float64)
        apart = (1.0 - share) * (e[every, chosen] - c[every, chosen]) / h[every, chosen]
        d, u = apart * reward, apart * (1.0 - reward)
        sums += (d, d * d, u, u * u)
        truth_sum += (1.0 - share) * ((e - c) * mean).sum(axis=1)
        for place in (0, 1):
            learned[place, every, chosen] += (1.0 - forget[place]) * (reward - learned[place, every, chosen])
        if t % _LOOK == 0:
            found |= _looked(t, sums, truth_sum / t)
    return Peeked(share, *found)


def _greedy(values: Matrix) -> Matrix:
    """The probabilities of the greedy choice with a floor."""
    p = np.full(values.shape, _EPSILON / _K)
    p[np.arange(len(p)), values.argmax(axis=1)] += 1.0 - _EPSILON
    return p


def _looked(n: int, sums: Matrix, mean: Vector) -> Matrix:
    """Promoted and missed by the gate, promoted and missed by the normal interval."""
    d, d2, u, u2 = sums
    centre, width = d / n, _NORMAL * np.sqrt(np.maximum(d2 / n - (d / n) ** 2, 0.0) / n)
    missed = (log_e(n, d, d2, mean) >= _ENOUGH) | (log_e(n, u, u2, -mean) >= _ENOUGH)
    # A normal interval makes sense only with this many decisions.
    is_late = n >= 4 * _LOOK
    promoted = (centre - width > 0.0) & is_late
    return np.array([log_e(n, d, d2) >= _ENOUGH, missed, promoted, (np.abs(centre - mean) > width) & is_late])


# Intervals

_CANDIDATES: Final = 4
_USERS: Final = 40


def log_of(runs: int, decisions: int, *, seed: int, epsilon: float = 0.4) -> Logged:
    """So many logs in one: run number i is the hour i. Each has 40 users of its own, who like everything more or less.

    The champion is greedy for the one feature, the challenger against it.
    """
    chance, n = np.random.default_rng(seed), runs * decisions
    z = chance.normal(size=(n, _CANDIDATES))
    c, e = np.full(z.shape, epsilon / _CANDIDATES), np.full(z.shape, 0.1 / _CANDIDATES)
    c[np.arange(n), z.argmax(axis=1)] += 1.0 - epsilon
    e[np.arange(n), z.argmin(axis=1)] += 0.9
    chosen = (c.cumsum(axis=1) > chance.random((n, 1))).argmax(axis=1)
    user = np.repeat(np.arange(runs), decisions) * _USERS + chance.integers(0, _USERS, n)
    likes = chance.uniform(-0.3, 0.3, runs * _USERS)[user]
    reward = (chance.random(n) < _mean(z)[np.arange(n), chosen] + likes).astype(np.float64)
    return Logged(
        champion="champion",
        starts=np.arange(0, n * _CANDIDATES + 1, _CANDIDATES),
        propensities=c.ravel(),
        by_policy={"champion": c.ravel(), "challenger": e.ravel()},
        chosen=chosen,
        reward=reward,
        reward_in_time=reward,
        user=user.astype(np.uint64) * np.uint64(64),
        hour=np.repeat(np.arange(runs), decisions),
        matured=np.ones(n, bool),
        shown=np.ones(n, bool),
        eras={},
        share=np.zeros(n),
        excluded=np.zeros(n * _CANDIDATES, bool),
        context=np.zeros((n, 0)),
        features=z.reshape(-1, 1),
        low=0.0,
    )


@cache
def truth() -> tuple[float, float]:
    """What champion (at epsilon 0.4) and challenger earn, by a million draws: known to 0.0002."""
    z = np.random.default_rng(0).normal(size=(1_000_000, _CANDIDATES))
    means = _mean(np.sort(z, axis=1)).mean(axis=0)
    return float(0.6 * means[-1] + 0.4 * means.mean()), float(0.9 * means[0] + 0.1 * means.mean())


def _mean(z: Matrix) -> Matrix:
    return np.asarray(0.5 + 0.2 * np.tanh(z), np.float64)


def intervals(logged: Logged, *, fit: bool) -> Iterator[tuple[float, dict[str, Estimate]]]:
    """Of each run the effective size and the estimates: of the mean served, and of the challenger by IPS and SNIPS.

    With `fit` also by DR; then there must be one run, for the regression would learn from all.
    """
    served, target = reduced(logged, logged.propensities), logged.by_policy["challenger"]
    made = terms(logged, target, predicted(logged)) if fit else None
    sums = reduced(logged, target, terms=made)
    for hour in np.unique(logged.hour):
        one, other = served.within(served.hour == hour), sums.within(sums.hour == hour)
        found = {"mean": ips(one, clusters(one)), "ips": ips(other, clusters(other))}
        found["snips"] = snips(other, clusters(other))
        if fit:
            found["dr"] = dr(other, clusters(other))
        yield effective(other), found


def coverage(found: list[dict[str, Estimate]]) -> dict[str, float]:
    """The share of the intervals that hold the truth, by estimator."""
    champion, challenger = truth()
    right: dict[str, list[bool]] = {name: [] for name in found[0]}
    for estimates in found:
        for name, each in estimates.items():
            value = champion if name == "mean" else challenger
            right[name].append(each.low is not None and each.high is not None and each.low <= value <= each.high)
    return {name: sum(hits) / len(hits) for name, hits in right.items()}


def sections(runs: int) -> Iterator[Section]:
    """The gate under peeking, and the intervals at three effective sizes, in so many runs each."""
    for gain, title in ((0.0, "The gate where there is no difference"), (0.2, "The gate while differences drift")):
        yield _gate(runs, gain, title)
    rows = []
    for decisions in (200, 800, 1_600):
        made = [next(intervals(log_of(1, decisions, seed=seed), fit=True)) for seed in range(runs)]
        shares = coverage([estimates for _, estimates in made])
        size = sum(each for each, _ in made) / runs
        rows.append([f"{decisions:,}", f"{size:.0f}", *(f"{shares[name]:.3f}" for name in shares)])
    how = f"share of {runs:,} intervals of 95 % that hold the truth; 40 users, who differ"
    yield Section("Intervals", how, ["decisions", "effective size", "mean served", "IPS", "SNIPS", "DR"], rows)


def _gate(runs: int, gain: float, title: str) -> Section:
    found, rows, checks = peeked(runs, 4_000, gain=gain, seed=1), [], []
    for share in _SHARES:
        at = found.share == share
        columns = (found.promoted, found.missed, found.normal_promoted, found.normal_missed)
        rows.append([f"{share:g}", *(f"{column[at].mean():.1%}" for column in columns)])
        checks.append(Check(f"{title}, canary {share:g}: missed", 100.0 * float(found.missed[at].mean()), 5.0, "%"))
    how = f"{runs:,} runs of 4,000 decisions, looked at every {_LOOK}; policies learn, users drift"
    return Section(title, how, ["canary", "promoted", "missed", "normal: promoted", "normal: missed"], rows, checks)
