"""The input of a decision: the moment, the user's profile, and the candidates."""

from collections.abc import Mapping
from typing import Protocol

import msgspec

__all__ = ["Context", "Task"]


class Context(msgspec.Struct, frozen=True):
    """The moment of a decision: hour 0..23, weekday 0..6, and a profile of the user's last 30 days, as it was sent."""

    hour_of_day: int
    day_of_week: int
    profile: Mapping[str, object] | None = None


class Task(Protocol):
    """The features of a candidate: overdue or not, age in days, priority 1..4."""

    @property
    def is_overdue(self) -> bool: ...
    @property
    def task_age_days(self) -> float: ...
    @property
    def priority(self) -> int: ...
