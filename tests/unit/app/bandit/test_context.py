"""The input of a decision."""

import msgspec
import pytest

from app.bandit.catalog import policies
from app.bandit.context import Context, Task
from app.messages.classic import CandidateFeatures
from tests.unit.app.bandit.samples import Task as Sample


def test_a_context_is_a_value_without_a_profile() -> None:
    """The profile may be absent, and a context cannot change while a step runs again."""
    context = Context(9, 2)
    assert context == Context(hour_of_day=9, day_of_week=2, profile=None)
    with pytest.raises(AttributeError):
        context.hour_of_day = 10  # type: ignore[misc]  # that is what is refused


def test_tasks_are_known_by_their_attributes() -> None:
    """Whatever has the three attributes is a task: the message of a client as well as any other."""
    message: Task = msgspec.convert({"is_overdue": True, "task_age_days": 15, "priority": 4}, CandidateFeatures)
    other: Task = Sample(is_overdue=True, task_age_days=15.0, priority=4)
    for policy in policies().values():
        one, two = policy.features.columns(Context(9, 2), [message, other]).tolist()
        assert one == two
