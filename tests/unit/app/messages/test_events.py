"""The events: which fields they need."""

from typing import Any, get_args

import msgspec
import pytest

from app.messages.events import Happening, TaskSynced, TipFeedback


@pytest.mark.parametrize(
    ("type_", "event", "valid"),
    [
        (TaskSynced, {"user_id": "ann", "more": 1}, True),
        (TaskSynced, {"user_id": ""}, False),
        (TaskSynced, {}, False),
        (TipFeedback, {"user_id": "ann", "tip_id": "t"}, True),
        (TipFeedback, {"user_id": "ann"}, False),
        (TipFeedback, {"user_id": "ann", "tip_id": "t" * 257}, False),
    ],
)
def test_an_event_names_its_user(type_: Any, event: dict[str, Any], *, valid: bool) -> None:
    """Other fields are not looked at."""
    try:
        read = msgspec.convert(event, type_)
    except msgspec.ValidationError:
        assert not valid
    else:
        assert valid
        assert read.user_id == "ann"


def test_the_outcomes_are_those_of_the_dashboards() -> None:
    """They are values of a label."""
    assert get_args(Happening) == ("processed", "failed", "dead_lettered")
