"""What a loop did by hour, as `judge` has counted it in the log: numbers for tables and plots. Pure."""

import math
import time
from typing import Final, NamedTuple

from markupsafe import Markup

from app.drawing.marks import Axis, Series, columns, legend, lines
from app.drawing.words import count, number, share, unix
from app.messages.pipeline import Joined, LoopHealth

__all__ = ["Day", "Hour", "Interval", "Plots", "day", "hours", "interval", "joined", "plots"]

_NORMAL_95: Final = 1.96
_DAY_HOURS: Final = 24


class Interval(NamedTuple):
    """A mean, and the ends of its 95 % interval; None where they are not known."""

    mean: float | None
    low: float | None
    high: float | None


class Hour(NamedTuple):
    """The decisions of one hour, which begins `at` (Unix seconds)."""

    at: int
    decisions: int
    explored: float | None
    answered: float | None
    matured: int
    joined: float | None
    reward: Interval


class Day(NamedTuple):
    """The decisions of 24 hours, and what became of those whose window closed in them."""

    decisions: int
    explored: float | None
    matured: int
    joined: float | None
    reward: Interval


class Plots(NamedTuple):
    """Pictures of the hours, with what explains the hues of the first."""

    decisions: Markup
    served: Markup
    reward: Markup
    shares: Markup
    keys: Markup


def interval(found: Joined) -> Interval:
    """The mean reward, as if all decisions were independent: to look at, where `evaluate` judges."""
    n = found.counted
    if not n:
        return Interval(None, None, None)
    mean = found.total / n
    if n == 1:
        return Interval(mean, None, None)
    error = _NORMAL_95 * math.sqrt(max(found.squares / n - mean * mean, 0.0) / n)
    return Interval(mean, mean - error, mean + error)


def joined(found: Joined) -> float | None:
    """The share of matured decisions that found their reward."""
    return _share(found.rewarded, found.matured)


def hours(health: LoopHealth) -> list[Hour]:
    """Each hour, the oldest first."""
    return [
        Hour(
            unix(each.at),
            each.decisions,
            _share(each.explored, each.decisions),
            _share(each.answered, each.decisions),
            each.matured,
            joined(each),
            interval(each),
        )
        for each in health.hours
    ]


def day(health: LoopHealth) -> Day:
    """The last day of the log."""
    last = health.hours[-_DAY_HOURS:]
    decisions = sum(each.decisions for each in last)
    explored = _share(sum(each.explored for each in last), decisions)
    return Day(decisions, explored, health.day.matured, joined(health.day), interval(health.day))


def plots(health: LoopHealth, *, hints: bool) -> Plots:
    """The hours as pictures; with `hints` each hour tells its numbers when it is pointed at."""
    found = hours(health)
    axis = _axis(found, hints=hints)
    names = list(dict.fromkeys([health.champion, *(name for each in health.hours for name in each.served)]))
    served = [Series(name, [each.served.get(name) for each in health.hours]) for name in names]
    reward = Series("mean reward", *zip(*(each.reward for each in found), strict=True))
    shares = [Series("explored", [each.explored for each in found]), Series("joined", [each.joined for each in found])]
    return Plots(
        columns(served, axis, f"Decisions by hour, by the policy that made them: {', '.join(names)}"),
        legend(names),
        lines([reward], axis, "Mean reward of the decisions of each hour, with its 95 % interval"),
        lines(
            shares, axis, "Share of decisions that explored, and share that found their reward, by hour", shares=True
        ),
        legend([each.name for each in shares]),
    )


def _axis(found: list[Hour], *, hints: bool) -> Axis:
    """The middles of the hours, and texts where days begin."""
    count_ = len(found)
    midnights = [(n, each.at) for n, each in enumerate(found) if each.at % 86_400 == 0]
    texts = [(n / count_, time.strftime("%b %d", time.gmtime(at))) for n, at in midnights]
    return Axis([(n + 0.5) / count_ for n in range(count_)], texts, [_hint(each) for each in found] if hints else [])


def _hint(hour: Hour) -> str:
    told = [f"{count(hour.decisions)} decisions, {share(hour.explored)} explored"]
    if hour.matured:
        low, high = number(hour.reward.low), number(hour.reward.high)
        told.append(f"{share(hour.joined)} found their reward, mean {number(hour.reward.mean)} ({low} to {high})")
    return f"{time.strftime('%b %d %H:%M', time.gmtime(hour.at))}: {'; '.join(told)}"


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
