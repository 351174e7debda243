"""The input of a decision."""

import pytest

from app.bandit.context import Context


def test_a_context_is_a_value() -> None:
    """Nothing need be known, and a context cannot change while a step runs again."""
    assert Context() == Context({}, {})
    with pytest.raises(AttributeError):
        Context().moment = {}  # type: ignore[misc]  # that is what is refused
