"""The chat-completion format: a request as JSON, and what an answer to it says. It does not know HTTP."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from app.messages.decoding import decoded
from app.tips.prompts import Message

__all__ = ["NoCompletion", "Reply", "read", "request", "said"]

MODEL: Final = "tip-generator"
TEMPERATURE: Final = 0.7


class NoCompletion(ValueError):
    """An answer is not a chat completion; the message says what it is, in words of the answer."""


class Reply(msgspec.Struct, frozen=True):
    """What the model said: its text ("" if there is none), its name and the tokens used.

    `stopped` says why the text was cut short, None if the model ended it.
    """

    content: str
    model: str
    prompt_tokens: int
    completion_tokens: int
    stopped: str | None = None


class _Request(msgspec.Struct):
    messages: Sequence[Message]
    model: str = MODEL
    temperature: float = TEMPERATURE


class _Message(msgspec.Struct):
    content: str | list[Any] | None = None
    refusal: Any = None


class _Choice(msgspec.Struct):
    message: _Message | None = None
    finish_reason: Any = None


class _Completion(msgspec.Struct):
    choices: list[_Choice] | None = None
    model: str | None = None
    usage: Any = None
    error: Any = None


_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(_Completion)
_TEXTS: Final = ("text", "output_text")
_CUT: Final = "the reply was cut off at the token limit"
_REFUSED: Final = "the language model refused"
# Some providers have names of their own, which not every proxy translates.
_STOPPED: Final = {
    "length": _CUT,
    "max_tokens": _CUT,
    "content_filter": "a content filter stopped the reply",
    "refusal": _REFUSED,
}


def request(messages: Sequence[Message]) -> bytes:
    """The body of a request for one completion of a chat."""
    return _ENCODER.encode(_Request(messages))


def read(body: bytes) -> Reply:
    """The reply in an answer's body; raises NoCompletion."""
    try:
        answer = decoded(_DECODER.decode, body)
    except (ValueError, RecursionError) as error:
        raise NoCompletion(f"something that is not a chat completion: {error}") from None
    if answer.error and not answer.choices:
        raise NoCompletion("an error")
    choice = answer.choices[0] if answer.choices else _Choice()
    message = choice.message or _Message()
    usage = answer.usage if isinstance(answer.usage, dict) else {}
    return Reply(
        content=_text(message.content),
        model=answer.model or MODEL,
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
        stopped=_stopped(choice, message),
    )


def _text(content: str | list[Any] | None) -> str:
    """A message's text; of a list of parts only the text ones, since reasoning models put their thoughts in others."""
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") in _TEXTS]
        return "".join(text for text in texts if isinstance(text, str))
    return content or ""


def _stopped(choice: _Choice, message: _Message) -> str | None:
    if isinstance(message.refusal, str) and message.refusal:
        return f"{_REFUSED}: {message.refusal}"
    return _STOPPED.get(choice.finish_reason) if isinstance(choice.finish_reason, str) else None


def said(body: bytes) -> str:
    """The message in an error's body, in any of the forms that proxies use, else the whole body; on one line."""
    text = " ".join(body.decode("utf-8", "replace").split())
    try:
        message = decoded(msgspec.json.decode, body)
    except (ValueError, RecursionError):
        return text
    for name in ("error", "message", "detail"):
        if isinstance(message, dict) and message.get(name):
            message = message[name]
    return " ".join(message.split()) if isinstance(message, str) else text


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
