"""How often the whole ladder errs, by simulation: from shadow to champion by the evidence alone."""

import math
from collections.abc import Iterator
from typing import Final

import numpy as np

from app.bandit.ridge import Matrix, Vector
from app.evaluation.evidence import Evidence, Judged
from app.evaluation.gate import ALPHA, bounds, log_e
from app.evaluation.logged import Ints
from app.evaluation.sums import COLUMNS, Sums
from app.experiments.ladder import FIRST_SHARE, MOST_SHARE, Known, objections
from app.experiments.verdict import Verdict
from app.judging.joining import Joining
from bench.report import Check, Section
from state.values.loop import Canary, Stage

__all__ = ["climbed", "sections"]

_K: Final = 5
_EPSILON: Final = 0.2
_LOOK: Final = 50
# At these even where it is plain that the next rung is not allowed: the ladder must see it, too.
_ALL: Final = 1_000
_FORGET: Final = np.array([0.95, 0.8])[:, None]
_RUNGS: Final = (
    Stage(0, "serves"),
    Stage(1, "serves", Canary("climbs", FIRST_SHARE)),
    Stage(2, "serves", Canary("climbs", MOST_SHARE)),
    Stage(3, "climbs"),
)
_SHARES: Final = np.array([0.0 if rung.canary is None else rung.canary.share for rung in _RUNGS])
_GATE: Final = ("gate_n", "share", "d", "d2", "u", "u2")
_HEALTHY: Final = Joining([], []).health(0, at=0, champion="serves", missing=None)


def climbed(loops: int, decisions: int, *, gain: float, seed: int) -> Ints:
    """The rungs that so many loops reach, in each of which somebody asks for the next one every 50 decisions: 0 shadow,
    1 and 2 canary with a share of 0.1 and 0.5, 3 champion.

    Champion and challenger are epsilon-greedy over forgetting means of the rewards, forgetting at different speeds;
    both learn from whatever is served. Rewards are 0 or 1. Without `gain` all candidates are equally good, at a level
    that drifts, so that there is no difference although the policies differ all the time. With it, the first candidate
    earns so much more than the others, and the champion is blind; below 0 the challenger is, and it earns more too.
    """
    chance, every = np.random.default_rng(seed), np.arange(loops)
    learned = np.full((2, loops, _K), 0.5)
    level, above = chance.uniform(50.0, 500.0, loops), abs(gain) * (np.arange(_K) == 0)
    rung, sums = np.zeros(loops, np.int64), np.zeros((len(_GATE), loops))
    for t in range(1, decisions + 1):
        c, e = (_greedy(learned[place] + 1e-6 * chance.random((loops, _K))) for place in (0, 1))
        c, e = (np.full_like(p, 1.0 / _K) if is_blind else p for p, is_blind in ((c, gain > 0.0), (e, gain < 0.0)))
        share = _SHARES[rung]
        h = c + share[:, None] * (e - c)
        mean = 0.4 + 0.2 * np.sin(t / level)[:, None] + above
        chosen = (h.cumsum(axis=1) > chance.random((loops, 1))).argmax(axis=1)
        reward = (chance.random(loops) < mean[every, chosen]).astype(np.float64)
        apart = (1.0 - share) * (e[every, chosen] - c[every, chosen]) / h[every, chosen]
        d, u = apart * reward, apart * (1.0 - reward)
        sums += (np.ones(loops), share, d, d * d, u, u * u)
        learned[:, every, chosen] += (1.0 - _FORGET) * (reward - learned[:, every, chosen])
        if t % _LOOK == 0:
            asking = _worth_asking(rung, sums, all_of_them=t % _ALL == 0)
            up = np.array([place for place in asking if _may_climb(int(rung[place]), sums[:, place])])
            if len(up):
                rung[up] += 1
                sums[:, up] = 0.0  # the gate starts anew when the share changes
    return rung


def _greedy(values: Matrix) -> Matrix:
    p = np.full(values.shape, _EPSILON / _K)
    p[np.arange(len(p)), values.argmax(axis=1)] += 1.0 - _EPSILON
    return p


def _worth_asking(rung: Ints, sums: Matrix, *, all_of_them: bool) -> list[int]:
    """The loops whose bounds may allow the next rung: bounds take long, and this says as much of `low`."""
    n, _, d, d2, *_ = sums
    better = log_e(n, d, d2) >= math.log(2.0 / ALPHA) - 1e-6
    return [int(place) for place in np.flatnonzero((rung < len(_RUNGS) - 1) & ((rung == 0) | better | all_of_them))]


def _may_climb(rung: int, sums: Vector) -> bool:
    """Whether the ladder allows the next rung, by the gate of these sums."""
    cells = np.zeros((1, len(COLUMNS)))
    cells[0, [COLUMNS.index(name) for name in _GATE]] = sums
    one = np.zeros(1, np.int64)
    gate = bounds(Sums(hour=one, era=one, cluster=one.astype(np.uint64), cells=cells))
    judged = Judged(
        n=gate.n,
        snips=None,
        ips=None,
        dr=None,
        ess=0.0,
        max_weight_share=0.0,
        mean_weight_z=0.0,
        draws_p=1.0,
        gate=gate,
        refused=[],
        warnings=[],
        masses=[],
        rewards=None,
        gates=None,
    )
    evidence = Evidence(
        loop="",
        champion="serves",
        decisions=gate.n,
        matured=gate.n,
        rewarded=gate.n,
        logging=None,
        clustered_by="users",
        clusters=gate.n,
        ends=[],
        draws_since=None,
        policies={"climbs": judged},
        baselines={},
    )
    known = Known(Verdict(0, "serves", evidence), _HEALTHY, 0)
    return not objections(_RUNGS[rung], _RUNGS[rung + 1], known, ())


def sections(runs: int) -> Iterator[Section]:
    """How far so many loops climb within 4,000 decisions, where there is no difference and where there is one."""
    rows, checks = [], []
    for gain, title in ((0.0, "no difference"), (0.3, "a better challenger"), (-0.3, "a worse challenger")):
        rung = climbed(runs, 4_000, gain=gain, seed=1)
        rows.append([title, *(f"{(rung >= least).mean():.1%}" for least in (1, 2, 3))])
        if gain <= 0.0:
            checks.append(Check(f"The ladder, {title}: beyond 0.1", 100.0 * float((rung > 1).mean()), 1.0, "%"))
    how = f"{runs:,} loops of 4,000 decisions, in which somebody asks for the next rung every {_LOOK}"
    yield Section("The ladder", how, ["", "canary 0.1", "canary 0.5", "champion"], rows, checks)
