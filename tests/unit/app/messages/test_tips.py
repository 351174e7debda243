"""What generation is asked for."""

from typing import Any

import msgspec
import pytest

from app.messages.tips import GenerateContext, GeneratedCandidate, GenerateRequest


def test_what_may_be_left_out() -> None:
    """Three tips at noon of the first day, by the prompt that the service chooses."""
    asked = msgspec.convert({"user_id": "ann"}, GenerateRequest)
    assert (asked.n, asked.prompt_version, asked.context) == (3, None, GenerateContext([], 12, 0, {}))
    assert GeneratedCandidate("tip-0", "Walk.").source == "llm"


@pytest.mark.parametrize("change", [{"n": 0}, {"n": 21}, {"user_id": ""}, {"context": {"tasks": ["text"]}}])
def test_what_is_refused(change: dict[str, Any]) -> None:
    """A model must not be asked for more tips than a client can use."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"user_id": "ann"} | change, GenerateRequest)
