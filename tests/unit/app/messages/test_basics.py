"""The types that all messages share."""

from typing import Any

import msgspec
import pytest

from app.messages.basics import ErrorAnswer, Finite, Hour, Ok, Priority, Time, TipId, UserId, Weekday


@pytest.mark.parametrize(
    ("type_", "within", "beyond"),
    [
        (Hour, (0, 23), (-1, 24)),
        (Weekday, (0, 6), (-1, 7)),
        (Priority, (1, 4), (0, 5)),
        (Finite, (-1.7e308, 1.7e308), (float("-inf"), float("inf"))),
    ],
)
def test_numbers_have_bounds(type_: Any, within: tuple[float, ...], beyond: tuple[float, ...]) -> None:
    """Both ends are allowed, and nothing beyond."""
    assert tuple(msgspec.convert(value, type_) for value in within) == within
    for value in beyond:
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(value, type_)


def test_ids_have_a_length() -> None:
    """A user id has 1 to 256 characters; the id of a tip may be empty."""
    for user in ("a", "ü" * 256):
        assert msgspec.convert(user, UserId) == user
    for user in ("", "a" * 257):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(user, UserId)
    assert msgspec.convert("", TipId) == ""


def test_answers() -> None:
    """As JSON, and a time is called one in the document."""
    assert msgspec.json.encode(Ok()) == b'{"ok":true}'
    assert msgspec.json.encode(ErrorAnswer("why")) == b'{"detail":"why"}'
    assert msgspec.json.schema(Time)["format"] == "date-time"
