"""The evidence of a log for people: a table, sentences about what was refused, and a page with plots."""

import math
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Final

import numpy as np

from app.evaluation.estimators import Estimate
from app.evaluation.evidence import Evidence, Judged
from app.report.marks import Bars, Range, Ranges
from app.report.page import Figure, Grid, Notes, Page
from app.report.plots import Line, Lines

__all__ = ["lead", "notes", "page", "table", "verdicts"]

_NONE: Final = "–"  # noqa: RUF001  # a dash
_HEADER: Final = ("policy", "reward", "IPS", "DR", "worth", "above the champion", "still needed")
_NOTES: Final = (
    "reward: what a decision would have earned, by SNIPS, with a 95 % interval; IPS and DR: the same by other "
    "estimators; worth: how many decisions of its own would tell as much; above the champion: bounds that hold at all "
    "times at once, however often one looks; still needed: how many more decisions would show that it is better, if "
    "the difference stays as it was. Challengers learned from what the champion served."
)
_WIDTH: Final = 1.959963984540054
_BAND: Final = 2.0
# More lines than these, with bands around them, cannot be told apart.
_BANDED: Final = 2


def table(evidence: Evidence) -> Grid:
    """A row for what was served, one for each policy, and faint ones for two policies that need no model."""
    served = evidence.logging
    first = _interval(Estimate(served.mean, served.low, served.high)) if served else _NONE
    rows = [["what was served", first, *[_NONE] * (len(_HEADER) - 2)]]
    rows += [_row(name, judged) for name, judged in evidence.policies.items()]
    faint = range(len(rows), len(rows) + len(evidence.baselines))
    rows += [_row(name, judged) for name, judged in evidence.baselines.items()]
    return Grid(_HEADER, rows, _NOTES, frozenset(faint))


def lead(evidence: Evidence, about: str) -> str:
    """How much was compared; `about` says when that was."""
    return (
        f"{evidence.decisions:,} decisions of the loop {evidence.loop}{about}, of which {evidence.matured:,} are "
        f"matured and were shown, {evidence.rewarded:,} of these rewarded. Intervals take decisions of one of "
        f"{evidence.clusters:,} {evidence.clustered_by} as dependent."
    )


def verdicts(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """By challenger, how it stands to the champion in a sentence; of one without a gate nothing can be said."""
    champion = evidence.champion
    for name, judged in evidence.policies.items():
        gate = judged.gate
        if gate is None or gate.refused:
            continue
        if not gate.n:
            yield name, f"not compared with {champion} yet: no decision of its present version is matured."
        elif gate.low > 0.0:
            yield name, f"better than {champion}: it earns at least {gate.low:.3f} more for each decision."
        elif gate.high < 0.0:
            yield name, f"worse than {champion}: it earns at least {-gate.high:.3f} less for each decision."
        else:
            least, most = _more(gate.low), _more(gate.high)
            so_far = f"not decided: for each decision it earns between {least} and {most} than {champion}"
            yield name, f"{so_far}; {_until(gate.needed)}."


def _more(reward: float) -> str:
    return f"{abs(reward):.3f} {'less' if reward < 0.0 else 'more'}"


def _until(needed: int | None) -> str:
    if needed is None:
        return "so far nothing says that it is better"
    return f"about {needed:,} more decisions would show that it is better, if the difference stays as it was"


def notes(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """By policy, sentences: what was refused, why and what would help, and what to know about the rest."""
    for name, judged in (evidence.policies | evidence.baselines).items():
        for refusal in judged.refused:
            since = f" since {_time(evidence.draws_since)}" if refusal.rule == "draws" and evidence.draws_since else ""
            more = f"; about {refusal.more:,} more decisions" if refusal.more is not None else ""
            yield name, f"refused ({refusal.rule}): {refusal.why}{since}. What would help: {refusal.help}{more}."
        if judged.gate and judged.gate.refused:
            yield name, f"no gate: {judged.gate.refused}."
        for warning in judged.warnings:
            yield name, f"{warning[0].upper()}{warning[1:]}."


def page(evidence: Evidence, command: str, about: str = "", more: Iterable[Grid | Figure | Notes] = ()) -> Page:
    """Verdicts, the table, the notes, and plots of intervals, of the gate, of rewards and of weights; and `more`."""
    parts: list[Grid | Figure | Notes] = []
    for title, found in (("Verdicts", [*verdicts(evidence)]), ("Refused, and what to know", [*notes(evidence)])):
        parts += [Notes(title, found)] if found else []
    parts.insert(1 if any(verdicts(evidence)) else 0, table(evidence))
    title = f"Evidence: {evidence.loop}"
    return Page(title, lead(evidence, about), [*parts, *_figures(evidence), *more], [], f"Made by: {command}")


def _figures(evidence: Evidence) -> Iterator[Figure]:
    every = evidence.policies | evidence.baselines
    ranges = [Range(n, j.snips.estimate, j.snips.low, j.snips.high) for n, j in every.items() if j.snips]
    if ranges:
        mark = evidence.logging.mean if evidence.logging else None
        note = "Estimated reward (SNIPS) with 95 % intervals. The dashed line is the mean of what was served."
        yield Figure(Ranges("Rewards", "reward", "policy", ranges, mark), note)
    for name, judged in evidence.policies.items():
        if judged.gates and judged.gates.decisions:
            gates, bounds = judged.gates, np.array([judged.gates.low, judged.gates.high])
            line = Line(name, bounds.mean(axis=0), (bounds[1] - bounds[0]) / 2.0 / _BAND)
            note = (
                f"Bounds of what {name} earns more than {evidence.champion}, in the mean so far; all hold at once. "
                "When both are above the dashed line, it is better."
            )
            title, y = f"The gate of {name}", "above the champion"
            yield Figure(Lines(title, "decision", y, gates.decisions, [line], mark=0.0), note)
    rewards = [
        Line(name, _numbers(judged.rewards.estimate), _errors(judged.rewards.low, judged.rewards.high))
        for name, judged in evidence.policies.items()
        if judged.rewards
    ]
    if rewards and evidence.ends:
        hours = [end - evidence.ends[0] for end in evidence.ends]
        note = f"Estimated reward (SNIPS) in stretches of time; hour 0 is {_time(evidence.ends[0])}."
        if len(rewards) > _BANDED:
            rewards = [Line(line.name, line.mean, np.full_like(line.mean, math.nan)) for line in rewards]
            note += " Each point is uncertain, which is not drawn for so many policies."
        yield Figure(Lines("Rewards in the course of time", "hour", "reward in time", hours, rewards), note)
    masses = [(name, judged.masses) for name, judged in evidence.policies.items() if any(judged.masses)]
    if masses:
        last = max(np.flatnonzero(mass)[-1] for _, mass in masses) + 1
        bins = [f"to {2**power:,}" for power in range(1, last + 1)]
        note = "A policy's probability by its weight: the policy's own over the log's. What is far right is risky."
        yield Figure(Bars("Weights", "weight", "share", bins, [(n, mass[:last]) for n, mass in masses]), note)


def _row(name: str, judged: Judged) -> list[str]:
    gate = judged.gate
    cells = [_interval(each) if each else _NONE for each in (judged.snips, judged.ips, judged.dr)]
    if judged.refused:
        cells[0] = "refused"
    bounds = f"{_signed(gate.low)} to {_signed(gate.high)}" if gate and not gate.refused else _NONE
    needed = _NONE if gate is None or gate.needed is None else f"{gate.needed:,}"
    return [name, *cells, f"{judged.ess:,.0f}", bounds, needed]


def _interval(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return f"{estimate.estimate:.3f}"
    return f"{estimate.estimate:.3f} ± {(estimate.high - estimate.low) / 2.0:.3f}"


def _signed(value: float) -> str:
    return f"{value:+.3f}"


def _numbers(values: list[float | None]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array([math.nan if value is None else value for value in values])


def _errors(low: list[float | None], high: list[float | None]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Standard errors from the ends of 95 % intervals."""
    return (_numbers(high) - _numbers(low)) / 2.0 / _WIDTH


def _time(hour: int) -> str:
    return f"{datetime.fromtimestamp(hour * 3_600, UTC):%Y-%m-%d %H:%M} UTC"
