"""What a decision is about: the moment, what is known of the user, and the candidates."""

from collections.abc import Mapping
from typing import Protocol

import msgspec

__all__ = ["Context", "Task"]


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
