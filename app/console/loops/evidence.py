"""The evidence of a loop as tables and plots: what its policies would have earned, and how challengers stand."""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from markupsafe import Markup

from app.drawing.marks import Axis, Range, Series, columns, lines, ranges
from app.drawing.words import count, minute, span, unix
from app.evaluation.evidence import Judged
from app.experiments.verdict import Verdict
from app.messages.pipeline import GatePoint, LoopHealth
from app.policies.plan import Plan

__all__ = ["Course", "Row", "courses", "delays", "estimates", "gates", "judged", "role_of", "said"]

# Below a plot there is room for so many.
_TEXTS: Final = 7
_MOST_COURSES: Final = 8
_BASELINES: Final = {"uniform": "any candidate, each as often", "first": "always the first candidate"}


class Row(NamedTuple):
    """A policy and what the log tells of it; `role` is what it is in the loop now. A baseline is there to compare."""

    name: str
    role: str
    found: Judged
    is_baseline: bool = False


class Course(NamedTuple):
    """How the gate of a challenger became what it is."""

    name: str
    points: Sequence[GatePoint]
    plot: Markup


def judged(plan: Plan, verdict: Verdict) -> list[Row]:
    """The policies of the evidence, the champion first, and then the baselines."""
    evidence = verdict.evidence
    rows = [Row(name, role_of(plan, name), found) for name, found in evidence.policies.items()]
    rows.sort(key=lambda row: row.name != plan.stage.champion)
    return rows + [
        Row(_BASELINES.get(name, name), "", found, is_baseline=True) for name, found in evidence.baselines.items()
    ]


def role_of(plan: Plan, name: str) -> str:
    """What a policy is in a loop now."""
    if name == plan.stage.champion:
        return "champion"
    if plan.stage.canary is not None and name == plan.stage.canary.policy:
        return "canary"
    return "shadow" if any(policy.id == name for policy in plan.policies) else "gone"


def said(rows: Sequence[Row]) -> list[tuple[str, list[str], list[str]]]:
    """Of each policy of which there is something to say: why it is refused, and what to be careful about."""
    found = []
    for row in rows:
        refused = [f"{each.why}: {each.help}" for each in row.found.refused]
        if row.found.gate is not None and row.found.gate.refused:
            refused.append(f"the gate has no bound: {row.found.gate.refused}")
        if refused or row.found.warnings:
            found.append((row.name, refused, row.found.warnings))
    return found


def estimates(rows: Sequence[Row], verdict: Verdict) -> Markup | None:
    """What the policies would have earned, beside what was served; None if every estimate is refused."""
    known = [
        Range(
            row.name, row.found.snips.estimate, row.found.snips.low, row.found.snips.high, 6 * row.is_baseline, row.role
        )
        for row in rows
        if row.found.snips is not None
    ]
    served = verdict.evidence.logging
    if not known:
        return None
    if served is not None:
        known.insert(0, Range("what was served", served.mean, served.low, served.high, 2, ""))
    return ranges(known, "Mean reward that each policy would have earned, with 95 % intervals")


def gates(rows: Sequence[Row], width: float) -> tuple[Markup | None, list[str]]:
    """What challengers earn above the champion, at least and at most, where rewards have this `width`; None if there is
    no bound. Then the challengers about which nothing is known
    yet: their bounds are as far apart as bounds can be."""
    bounds = [(row, row.found.gate) for row in rows if row.found.gate is not None and not row.found.gate.refused]
    found = [
        Range(row.name, None, gate.low, gate.high, 0, row.role)
        for row, gate in bounds
        if gate.low > -width or gate.high < width
    ]
    unbound = [row.name for row, gate in bounds if gate.low <= -width and gate.high >= width]
    label = "What each challenger earns above the champion, at least and at most"
    return (ranges(found, label, mark=0.0) if found else None), unbound


def courses(health: LoopHealth) -> list[Course]:
    """The gates of challengers at the runs of `judge`: of the first ones, for a page has an end."""
    known = [(name, points) for name, points in health.gates.items() if points]
    return [Course(name, points, _course(name, points)) for name, points in known[:_MOST_COURSES]]


def _course(name: str, points: Sequence[GatePoint]) -> Markup:
    begins, ends = unix(points[0].at), unix(points[-1].at)
    places: list[float] = []
    low: list[float | None] = []
    high: list[float | None] = []
    champion = points[0].champion
    for point in points:
        place = (unix(point.at) - begins) / max(ends - begins, 1)
        if point.champion != champion:  # the gate began anew: the line has a gap
            champion = point.champion
            places.append(place)
            low.append(None)
            high.append(None)
        places.append(place)
        low.append(point.low)
        high.append(point.high)
    texts = [(0.0, minute(begins)), (1.0, minute(ends))] if ends > begins else [(0.0, minute(begins))]
    label = f"What {name} earns above the champion, at least and at most, at each run of judge"
    return lines([Series(name, low, low, high)], Axis(places, texts), label, mark=0.0)


def delays(health: LoopHealth) -> Markup | None:
    """How long first outcomes took, up to the longest; None without any."""
    if not any(health.delays):
        return None
    names = [*(f"up to {span(edge)}" for edge in health.delay_edges), "longer"]
    many = max(n for n, number in enumerate(health.delays) if number) + 1
    places = [(n + 0.5) / many for n in range(many)]
    every = math.ceil(many / _TEXTS)
    texts = [(places[n], names[n].removeprefix("up to ")) for n in range(0, many, every)]
    hints = [f"{name}: {count(number)}" for name, number in zip(names, health.delays[:many], strict=False)]
    return columns(
        [Series("rewards", health.delays[:many])], Axis(places, texts, hints), "Rewards by how long they took"
    )
