"""Featurizers: what a policy sees of a moment and of each candidate, as rows of float64.

A block gives some columns; a featurizer is blocks joined by `+`. The column labels are the documentation of a
model's theta, and d is their number.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

__all__ = ["CLOCK", "PROFILE", "TASK", "WEEKDAY", "Context", "Featurizer", "Matrix", "Task", "Vector"]

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]


class Context(msgspec.Struct, frozen=True):
    """The moment of a decision: hour 0..23, weekday 0..6, and what is known of the user's last 30 days."""

    hour_of_day: int
    day_of_week: int
    profile: Mapping[str, object] | None = None


class Task(Protocol):
    """What a candidate is about: overdue or not, age in days, priority 1..4."""

    @property
    def is_overdue(self) -> bool: ...
    @property
    def task_age_days(self) -> float: ...
    @property
    def priority(self) -> int: ...


class Featurizer(msgspec.Struct, frozen=True):
    """Columns with names: `of_context` gives those all candidates share, NaN-free; `tasks_at` says where the three
    task columns stand among them (None: no such block)."""

    labels: tuple[str, ...]
    of_context: Callable[[Context], tuple[float, ...]]
    tasks_at: int | None = None

    @property
    def d(self) -> int:
        return len(self.labels)

    def __add__(self, other: "Featurizer") -> "Featurizer":
        left, right = self.of_context, other.of_context
        at = self.tasks_at
        if other.tasks_at is not None:
            at = len(self.labels) + other.tasks_at
        return Featurizer(self.labels + other.labels, lambda context: left(context) + right(context), at)

    def matrix(self, context: Context, tasks: Sequence[Task]) -> Matrix:
        """The features of `tasks` (k of them) in `context`: k x d."""
        x = np.empty((len(tasks), len(self.labels)))
        x[:] = self.of_context(context)
        if self.tasks_at is not None:
            # One flat list: numpy reads it three times as fast as a list of tuples.
            flat = [value for task in tasks for value in (task.is_overdue, task.task_age_days, task.priority)]
            columns = np.fromiter(flat, np.float64, len(flat)).reshape(len(tasks), 3)
            age, priority = columns[:, 1], columns[:, 2]
            np.minimum(np.maximum(age, 0.0, out=age), 30.0, out=age)
            age /= 30.0
            priority -= 1.0
            priority /= 3.0
            x[:, self.tasks_at : self.tasks_at + 3] = columns
        return x


def _circle(steps: int) -> tuple[tuple[float, float], ...]:
    """sin and cos of every step of a circle, so that the last hour is next to the first."""
    angles = [2 * math.pi * step / steps for step in range(steps)]
    return tuple((math.sin(angle), math.cos(angle)) for angle in angles)


_HOURS: Final = _circle(24)
_WEEKDAYS: Final = _circle(7)


def _number(profile: Mapping[str, object], name: str) -> float | None:
    """A profile value that is a finite number or the text of one; anything else counts as absent."""
    value = profile.get(name)
    if not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _profile(context: Context) -> tuple[float, ...]:
    profile = context.profile
    if not profile:
        return (0.0, 0.0, 0.0, 0.5, 0.0)
    completed = _number(profile, "completion_rate_30d") or 0.0
    dismissed = _number(profile, "dismiss_rate_30d") or 0.0
    dwell = _number(profile, "mean_dwell_ms_30d") or 0.0
    preferred = _number(profile, "preferred_hour")
    # Within one turn, for the angle of an enormous hour would overflow.
    turned = None if preferred is None else math.fmod(preferred - context.hour_of_day, 24)
    volume = _number(profile, "tip_volume_30d") or 0.0
    return (
        min(max(completed, 0.0), 1.0),
        min(max(dismissed, 0.0), 1.0),
        min(max(dwell, 0.0), 600_000.0) / 600_000.0,
        0.5 if turned is None else (math.cos(2 * math.pi * turned / 24) + 1) / 2,
        min(1.0, math.log1p(volume) / math.log(101)) if volume > 0 else 0.0,
    )


CLOCK: Final = Featurizer(("hour_sin", "hour_cos"), lambda context: _HOURS[context.hour_of_day])
WEEKDAY: Final = Featurizer(("dow_sin", "dow_cos"), lambda context: _WEEKDAYS[context.day_of_week])
TASK: Final = Featurizer(("is_overdue", "task_age", "priority"), lambda _: (0.0, 0.0, 0.0), 0)
PROFILE: Final = Featurizer(
    (
        "completion_rate_30d",
        "dismiss_rate_30d",
        "mean_dwell_norm",
        "preferred_hour_alignment",
        "tip_volume_norm",
    ),
    _profile,
)
