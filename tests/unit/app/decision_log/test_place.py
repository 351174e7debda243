"""What DECISION_LOG may name."""

from pathlib import Path

import pytest

from app.decision_log.place import STREAM, place_of


def test_places() -> None:
    """Nothing, the stream, or a directory, whose name may have escapes."""
    assert place_of("") is None
    assert place_of(" nats\n") == STREAM
    assert place_of("file:///var/log/oo") == Path("/var/log/oo")
    assert place_of("file:///a%20b") == Path("/a b")


@pytest.mark.parametrize(
    "text",
    ["/var/log", "file://host/var", "file:var", "file:///", "nats://h", "http:///x", "file:///a%00b", "file:///a?b"],
)
def test_what_is_no_place(text: str) -> None:
    """Anything else is refused with what would be right."""
    with pytest.raises(ValueError, match="takes file:///directory or nats"):
        place_of(text)
