"""The ids of events."""

import re

import pytest

from app.messages.decision_ids import LOCAL
from app.personalizer.events import local_id, made_id


@pytest.mark.parametrize("event_id", ["e1", "ev 1/ü", "x" * 256, "\ud800", ""])
def test_any_text_is_an_id_of_ours(event_id: str) -> None:
    """43 characters, the same each time."""
    assert re.fullmatch(LOCAL, local_id(event_id))
    assert len(local_id(event_id)) == 43
    assert local_id(event_id) == local_id(event_id) != local_id(event_id + "x")


def test_made_ids() -> None:
    """The same for the same request that is marked as the same one; the order of names does not count."""
    one = made_id({"a": 1, "b": 2}, "r1")
    assert one == made_id({"b": 2, "a": 1}, "r1")
    assert len({one, made_id({"a": 1, "b": 2}, "r2"), made_id({"a": 1, "b": 3}, "r1")}) == 3
    assert re.fullmatch("[0-9a-f]{32}", one)
