"""The evidence of a log: for each policy its estimates or why there is none, and how it stands at the gate."""

import math
from collections.abc import Mapping
from typing import Final

import msgspec

from app.bandit.ridge import Vector
from app.evaluation import estimators, gate, overlap
from app.evaluation.baselines import first, uniform
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


class _Target(msgspec.Struct, frozen=True):
    """A policy's sums, and its mean mass on weights over n/50."""

    sums: Sums
    heavy: float


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


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What the log of a `loop` tells: of its `decisions`, so many are `matured` and were shown, and so many `rewarded`.

    `logging` is what was served, None if nothing counts; `draws_since` the hour (since 1970) from which on the draws do
    not match the propensities, None if they do. Intervals take decisions of one of `clusters` as dependent, which are
    `clustered_by` users, groups of users or blocks of hours.
    """

    loop: str
    decisions: int
    matured: int
    rewarded: int
    logging: Mean | None
    clustered_by: str
    clusters: int
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
    draws = together(by_likeliest(log), by_position(logged))

    def of(target: Vector, name: str = "") -> _Target:
        sums = reduced(logged, target, logged.eras.get(name), terms=terms(logged, target, q))
        return _Target(sums, overlap.heavy_exactly(sums, logged, target))

    scale = Scale(logged.low, logged.high)
    policies = {name: of(target, name) for name, target in logged.by_policy.items()}
    baselines = {"uniform": of(uniform(logged)), "first": of(first(logged))}
    return _evidence(loop, logged.champion, scale, log, draws, policies, baselines)


def evidence_of_sums(loop: str, champion: str, log: Sums, policies: Mapping[str, Sums], scale: Scale) -> Evidence:
    """The same from sums: `log` are those of the propensities, `policies` those of champion and challengers.

    Without the doubly robust estimate, which needs the decisions, and without the draws by position.
    """
    targets = {name: _Target(sums, overlap.heavy(sums)) for name, sums in policies.items()}
    return _evidence(loop, champion, scale, log, by_likeliest(log), targets, {})


def _evidence(
    loop: str,
    champion: str,
    scale: Scale,
    log: Sums,
    draws: Draws,
    policies: Mapping[str, _Target],
    baselines: Mapping[str, _Target],
) -> Evidence:
    by = clusters(log)
    of_log = list(overlap.draws_match(log, draws))
    served = estimators.ips(log, by).scaled(scale.low, scale.high) if log.total("known") else None
    challengers = max(1, len(policies) - 1)
    gates = {
        name: _scaled(gate.bounds(each.sums, challengers), scale) for name, each in policies.items() if name != champion
    }
    return Evidence(
        loop=loop,
        decisions=int(log.total("decisions")),
        matured=int(log.total("matured")),
        rewarded=int(log.total("rewarded")),
        logging=served and Mean(served.estimate, served.low, served.high),
        clustered_by=_CLUSTERS[by.kind],
        clusters=by.count,
        draws_since=draws.since if any(refusal.rule == "draws" for refusal in of_log) else None,
        policies={name: _judged(each, scale, draws, of_log, gates.get(name)) for name, each in policies.items()},
        baselines={name: _judged(each, scale, draws, of_log, None) for name, each in baselines.items()},
    )


def _judged(target: _Target, scale: Scale, draws: Draws, of_log: list[Refusal], bounds: Bounds | None) -> Judged:
    sums = target.sums
    refused = [*of_log, *overlap.refusals(sums, target.heavy)]
    by = clusters(sums)
    found: dict[str, Estimate | None] = dict.fromkeys(("snips", "ips", "dr"))
    if not refused:
        made = {"snips": estimators.snips(sums, by), "ips": estimators.ips(sums, by), "dr": estimators.dr(sums, by)}
        found |= {
            name: each.scaled(scale.low, scale.high) for name, each in made.items() if not math.isnan(each.estimate)
        }
    weight = sums.total("w")
    return Judged(
        n=int(sums.total("n")),
        snips=found["snips"],
        ips=found["ips"],
        dr=found["dr"],
        ess=overlap.effective(sums),
        max_weight_share=sums.total("w_max") / weight if weight else 0.0,
        mean_weight_z=overlap.mean_weight_z(sums),
        draws_p=draws.p,
        gate=bounds,
        refused=refused,
        warnings=[*overlap.warnings(sums), *_about_clusters(by)],
    )


def _about_clusters(by: Clusters) -> list[str]:
    """What to know about an interval from few clusters."""
    if by.count < 2:
        return [f"there is no interval: it takes {estimators.FEWEST} users, or as many hours"]
    if by.count < estimators.FEWEST:
        return [f"the intervals are from {by.count} {_CLUSTERS[by.kind]}, so they are likely too narrow"]
    if by.kind == "hours":
        return [f"the intervals are from {by.count} blocks of hours, since there are few users"]
    return []


def _scaled(bounds: Bounds, scale: Scale) -> Bounds:
    """A difference in units of reward instead of R."""
    width = scale.high - scale.low
    return msgspec.structs.replace(bounds, low=bounds.low * width, high=bounds.high * width)
