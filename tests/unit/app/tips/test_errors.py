"""The errors of the language model: each is an LlmError with a detail for the client."""

import pytest

from app.tips.errors import LlmError, LlmFailed, LlmNotConfigured, LlmUnavailable


@pytest.mark.parametrize("kind", [LlmFailed, LlmNotConfigured, LlmUnavailable])
def test_detail(kind: type[LlmError]) -> None:
    """The detail is the message."""
    error = kind("why")
    assert (error.detail, str(error)) == ("why", "why")


def test_retry_after() -> None:
    """Seconds, or None if no time is known."""
    assert LlmUnavailable("busy").retry_after is None
    assert LlmUnavailable("busy", 2.5).retry_after == 2.5
