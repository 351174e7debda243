"""The evidence of a log: for each policy its estimates or why there is none, and how it stands at the gate."""

import math
from collections.abc import Mapping
from typing import Final

import msgspec

from app.bandit.ridge import Vector
from app.evaluation import estimators, gate, overlap
from app.evaluation.baselines import first, uniform
from app.evaluation.course import Gates, Rewards, gates, rewards, stretches
from app.evaluation.draws import Draws, by_likeliest, by_position, together
from app.evaluation.estimators import Clusters, Estimate, clusters
from app.evaluation.gate import Bounds
from app.evaluation.logged import Logged
from app.evaluation.overlap import Refusal
from app.evaluation.regression import predicted, terms
from app.evaluation.sums import Sums, reduced

__all__ = ["Evidence", "Judged", "Mean", "Scale", "evidence", "evidence_of_sums"]

_CLUSTERS: Final = {"user": "users", "bucket": "groups of users", "hours": "blocks of hours"}


class Scale(msgspec.Struct, frozen=True):
    """The rewards of a loop: from `low` to `high`."""

    low: float = -1.0
    high: float = 1.0


class Mean(msgspec.Struct, frozen=True):
    """The mean reward of what was served, with the ends of its 95 % interval."""

    mean: float
    low: float | None
    high: float | None


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """A policy beside the log, in units of reward.

    `n` decisions count for it. Its estimates are None if they are `refused`, `dr` also where only sums are known.
    `ess` is the effective size, `max_weight_share` the greatest weight's part of all, `mean_weight_z` how far their
    mean is from 1 in standard deviations, `draws_p` the chance of draws as far from the propensities. Only challengers
    have a `gate`: the bounds of what they earn above the champion.

    For plots: `masses` are the policy's mean mass on weights up to 2, 4, 8, ..., and on any greater ones; `rewards` are
    those in the stretches of the log, and `gates` the bounds as they became.
    """

    n: int
    snips: Estimate | None
    ips: Estimate | None
    dr: Estimate | None
    ess: float
    max_weight_share: float
    mean_weight_z: float
    draws_p: float
    gate: Bounds | None
    refused: list[Refusal]
    warnings: list[str]
    masses: list[float]
    rewards: Rewards | None
    gates: Gates | None


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What the log of a `loop` tells: of its `decisions`, so many are `matured` and were shown, and so many `rewarded`.

    Challengers are compared with the `champion`.

    `logging` is what was served, None if nothing counts; `draws_since` the hour (since 1970) from which on the draws do
    not match the propensities, None if they do. Intervals take decisions of one of `clusters` as dependent, which are
    `clustered_by` users, groups of users or blocks of hours. `ends` are the last hours (since 1970) of the stretches
    of time by which rewards are told.
    """

    loop: str
    champion: str
    decisions: int
    matured: int
    rewarded: int
    logging: Mean | None
    clustered_by: str
    clusters: int
    ends: list[int]
    draws_since: int | None
    policies: dict[str, Judged]
    baselines: dict[str, Judged]

    @property
    def is_empty(self) -> bool:
        """Whether the estimates of all policies are refused."""
        return all(policy.refused for policy in self.policies.values())


def evidence(logged: Logged, loop: str) -> Evidence:
    """The evidence of logged decisions: of each policy they were scored by, and of two that need no model."""
    log, q = reduced(logged, logged.propensities), predicted(logged)
    judge = _Judge(log, together(by_likeliest(log), by_position(logged)), Scale(logged.low, logged.high))

    def judged(target: Vector, name: str = "", challengers: int = 0) -> Judged:
        sums = reduced(logged, target, logged.eras.get(name), terms=terms(logged, target, q))
        return judge.judged(sums, overlap.heavy_exactly(sums, logged, target), challengers)

    count = len(logged.by_policy) - 1
    return judge.evidence(
        loop,
        logged.champion,
        {n: judged(e, n, 0 if n == logged.champion else count) for n, e in logged.by_policy.items()},
        {"uniform": judged(uniform(logged)), "first": judged(first(logged))},
    )


def evidence_of_sums(loop: str, champion: str, log: Sums, policies: Mapping[str, Sums], scale: Scale) -> Evidence:
    """The same from sums: `log` are those of the propensities, `policies` those of champion and challengers.

    Without the doubly robust estimate, which needs the decisions, and without the draws by position.
    """
    judge, count = _Judge(log, by_likeliest(log), scale), len(policies) - 1
    found = {n: judge.judged(s, overlap.heavy(s), 0 if n == champion else count) for n, s in policies.items()}
    return judge.evidence(loop, champion, found, {})


class _Judge:
    """Judges policies one by one, for the sums of one may be large."""

    def __init__(self, log: Sums, draws: Draws, scale: Scale) -> None:
        self._log = log
        self._draws = draws
        self._scale = scale
        self._ends = stretches(log)
        self._refused = list(overlap.draws_match(log, draws))

    def evidence(self, loop: str, champion: str, policies: dict[str, Judged], baselines: dict[str, Judged]) -> Evidence:
        log, by = self._log, clusters(self._log)
        served = self._scaled(estimators.ips(log, by)) if log.total("known") else None
        return Evidence(
            loop=loop,
            champion=champion,
            decisions=int(log.total("decisions")),
            matured=int(log.total("matured")),
            rewarded=int(log.total("rewarded")),
            logging=Mean(served.estimate, served.low, served.high) if served else None,
            clustered_by=_CLUSTERS[by.kind],
            clusters=by.count,
            ends=self._ends.tolist(),
            draws_since=self._draws.since if any(each.rule == "draws" for each in self._refused) else None,
            policies=policies,
            baselines=baselines,
        )

    def judged(self, sums: Sums, heavy: float, challengers: int) -> Judged:
        """One policy, of so many `challengers`; 0: it is none, and has no gate."""
        refused, by = [*self._refused, *overlap.refusals(sums, heavy)], clusters(sums)
        known = not refused
        weight = sums.total("w")
        doubly = estimators.dr(sums, by) if known else None
        return Judged(
            n=int(sums.total("n")),
            snips=self._scaled(estimators.snips(sums, by)) if known else None,
            ips=self._scaled(estimators.ips(sums, by)) if known else None,
            dr=self._scaled(doubly) if doubly and not math.isnan(doubly.estimate) else None,
            ess=overlap.effective(sums),
            max_weight_share=sums.total("w_max") / weight if weight else 0.0,
            mean_weight_z=overlap.mean_weight_z(sums),
            draws_p=self._draws.p,
            gate=self._bounds(sums, challengers) if challengers else None,
            refused=refused,
            warnings=[*overlap.warnings(sums, has_learned=bool(challengers)), *_about_clusters(by)],
            masses=overlap.masses(sums),
            rewards=rewards(sums, self._ends, self._scale.low, self._scale.high) if known else None,
            gates=self._gates(sums, challengers) if challengers and not self._refused else None,
        )

    def _gates(self, sums: Sums, challengers: int) -> Gates:
        return gates(sums, challengers, self._scale.high - self._scale.low)

    def _scaled(self, estimate: Estimate) -> Estimate:
        return estimate.scaled(self._scale.low, self._scale.high)

    def _bounds(self, sums: Sums, challengers: int) -> Bounds:
        """The gate in units of reward; there is none if the log itself is refused."""
        bounds, width = gate.bounds(sums, challengers), self._scale.high - self._scale.low
        if self._refused:
            bounds = Bounds(-1.0, 1.0, 0.0, bounds.n, None, self._refused[0].why)
        return msgspec.structs.replace(bounds, low=bounds.low * width, high=bounds.high * width)


def _about_clusters(by: Clusters) -> list[str]:
    """What to know about an interval from few clusters."""
    if by.count < 2:
        return [f"there is no interval: it takes {estimators.FEWEST} users, or as many hours"]
    if by.count < estimators.FEWEST:
        return [f"the intervals are from {by.count} {_CLUSTERS[by.kind]}, so they are likely too narrow"]
    if by.kind == "hours":
        return [f"the intervals are from {by.count} blocks of hours, since there are few users"]
    return []
