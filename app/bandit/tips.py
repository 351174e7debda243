"""The columns of tips: the clock, the task, the weekday, and the user's profile."""

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from app.bandit.context import Context, Task
from app.bandit.features import Block, Shared
from app.bandit.ridge import Matrix

__all__ = ["CLOCK", "PROFILE", "TASK", "WEEKDAY"]


def _circle(steps: int) -> tuple[tuple[float, float], ...]:
    """sin and cos of every step of a circle, on which the last hour is next to the first."""
    angles = [2 * math.pi * step / steps for step in range(steps)]
    return tuple((math.sin(angle), math.cos(angle)) for angle in angles)


_HOURS: Final = _circle(24)
_WEEKDAYS: Final = _circle(7)


def _tasks(tasks: Sequence[Task]) -> Matrix:
    # One flat list: numpy reads it three times as fast as a list of tuples.
    flat = [value for task in tasks for value in (task.is_overdue, task.task_age_days, task.priority)]
    columns = np.fromiter(flat, np.float64, len(flat)).reshape(len(tasks), 3)
    age, priority = columns[:, 1], columns[:, 2]
    np.minimum(np.maximum(age, 0.0, out=age), 30.0, out=age)
    age /= 30.0
    priority -= 1.0
    priority /= 3.0
    return columns


def _number(profile: Mapping[str, object], name: str) -> float | None:
    """A profile value that is a finite number or the text of one; None for anything else."""
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
    # Reduced to one turn, since the angle of an enormous hour would overflow.
    turned = None if preferred is None else math.fmod(preferred - context.hour_of_day, 24)
    volume = _number(profile, "tip_volume_30d") or 0.0
    return (
        min(max(completed, 0.0), 1.0),
        min(max(dismissed, 0.0), 1.0),
        min(max(dwell, 0.0), 600_000.0) / 600_000.0,
        0.5 if turned is None else (math.cos(2 * math.pi * turned / 24) + 1) / 2,
        min(1.0, math.log1p(volume) / math.log(101)) if volume > 0 else 0.0,
    )


CLOCK: Final = Shared(("hour_sin", "hour_cos"), lambda context: _HOURS[context.hour_of_day])
WEEKDAY: Final = Shared(("dow_sin", "dow_cos"), lambda context: _WEEKDAYS[context.day_of_week])
TASK: Final = Block(("is_overdue", "task_age", "priority"), _tasks)
PROFILE: Final = Shared(
    (
        "completion_rate_30d",
        "dismiss_rate_30d",
        "mean_dwell_norm",
        "preferred_hour_alignment",
        "tip_volume_norm",
    ),
    _profile,
)
