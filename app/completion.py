"""The chat-completion format: a request as JSON, and what an answer to it says. It knows no HTTP."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from app.prompts import Message

__all__ = ["NoCompletion", "Reply", "read", "request", "said"]

MODEL: Final = "tip-generator"
TEMPERATURE: Final = 0.7


class NoCompletion(ValueError):
    """An answer is something else; the message says what, with words of the answer in it."""


class Reply(msgspec.Struct, frozen=True):
    """What the model said: its text ("" if it said nothing), its name and the tokens it took."""

    content: str
    model: str
    prompt_tokens: int
    completion_tokens: int


class _Request(msgspec.Struct):
    messages: Sequence[Message]
    model: str = MODEL
    temperature: float = TEMPERATURE


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message | None = None


class _Completion(msgspec.Struct):
    choices: list[_Choice] | None = None
    model: str | None = None
    usage: Any = None
    error: Any = None


_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(_Completion)


def request(messages: Sequence[Message]) -> bytes:
    """The body of a request for one completion of a chat."""
    return _ENCODER.encode(_Request(messages))


def read(body: bytes) -> Reply:
    """The reply in an answer's body; raises NoCompletion."""
    try:
        answer = _DECODER.decode(body)
    except (ValueError, RecursionError) as error:
        raise NoCompletion(f"no chat completion: {error}") from None
    if answer.error and not answer.choices:
        raise NoCompletion("an error")
    message = answer.choices[0].message if answer.choices else None
    usage = answer.usage if isinstance(answer.usage, dict) else {}
    return Reply(
        content=(message.content if message else None) or "",
        model=answer.model or MODEL,
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
    )


def said(body: bytes) -> str:
    """The message in an error's body, in any of the forms proxies use, else the body as text; on one line."""
    text = " ".join(body.decode("utf-8", "replace").split())
    try:
        found = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return text
    for name in ("error", "message", "detail"):
        if isinstance(found, dict) and found.get(name):
            found = found[name]
    return " ".join(found.split()) if isinstance(found, str) else text


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
