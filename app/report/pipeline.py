"""The health of a loop's reward pipeline for people: a table, what is wrong, and plots by hour and by delay."""

import math
from collections.abc import Iterator
from typing import Final

import numpy as np

from app.messages.pipeline import Joined, LoopHealth
from app.report.marks import Bars
from app.report.page import Figure, Grid, Notes
from app.report.plots import Line, Lines

__all__ = ["arrivals"]

_HEADER: Final = ("rewards", "windows closed", "rewarded", "late", "default", "silent", "mean reward")
_NOTES: Final = (
    "Decisions that were shown and whose window closed in the log's last day, all and by who served them, and in the "
    "seven days before. rewarded: somebody told an outcome, and it stands; late: of these, after the window; default: "
    "the default reward was booked; silent: neither. The mean counts silence if the loop says as what."
)
_UNITS: Final = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"), (1.0, "s"))


def arrivals(health: LoopHealth) -> Iterator[Grid | Figure | Notes]:
    """The parts of a page; none if no window closed in the last eight days."""
    if not health.day.matured + health.before.matured:
        return
    if health.problems:
        yield Notes("Rewards do not arrive", [("problem", f"{each}.") for each in health.problems])
    rows = [_row("last day", health.day)]
    rows += [_row(name, part) for name, part in health.by_policy.items()]
    rows.append(_row("week before", health.before))
    yield Grid(_HEADER, rows, _NOTES, frozenset({len(rows) - 1}))
    share = np.array([hour.rewarded / hour.matured if hour.matured else math.nan for hour in health.hours])
    if not np.isnan(share).all():
        note = f"Of the decisions of each hour whose windows are closed; hour 0 is {health.hours[0].at}."
        line = Line("rewarded", share, np.full_like(share, math.nan))
        hours = range(len(share))
        yield Figure(Lines("Decisions that found a reward", "hour", "share", hours, [line], ceiling=1.0), note)
    if rewarded := sum(health.delays):
        filled = np.flatnonzero(health.delays)
        part = slice(filled[0], filled[-1] + 1)
        bins = [*map(_spoken, health.delay_edges), "more"][part]
        shares = [count / rewarded for count in health.delays[part]]
        note = "From a decision to its first outcome, of the decisions whose window closed in the last day."
        yield Figure(Bars("Time until a reward", "at most", "share", bins, [("last day", shares)]), note)


def _row(name: str, part: Joined) -> list[str]:
    silent = part.matured - part.rewarded - part.defaulted
    counts = (part.rewarded, part.late, part.defaulted, silent)
    return [name, f"{part.matured:,}", *(_share(count, part.matured) for count in counts), _mean(part)]


def _share(count: int, of: int) -> str:
    return f"{count / of:.1%}" if of else "–"  # noqa: RUF001  # a dash


def _mean(part: Joined) -> str:
    if not part.counted:
        return "–"  # noqa: RUF001  # a dash
    mean = part.total / part.counted
    spread = math.sqrt(max(part.squares / part.counted - mean**2, 0.0) / part.counted)
    return f"{mean:.3f} ± {1.96 * spread:.3f}"


def _spoken(seconds: float) -> str:
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"
