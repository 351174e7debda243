"""Generate tips: fill the prompt, ask the model, read the reply, and ask for a correction if it cannot be read."""

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from app.tips.chat import ChatClient
from app.tips.errors import LlmError, LlmFailed, LlmNotConfigured
from app.tips.prompts import Message, Prompts
from app.tips.reply import BadReply, Tip, read

__all__ = ["TRIES", "Generated", "Observer", "generate"]

TRIES: Final = 3
ECHO_CHARACTERS: Final = 8_000
_log: Final = logging.getLogger("oo.llm")


class Generated(msgspec.Struct, frozen=True):
    """The tips and what they cost: tokens summed over all `tries`, `model` as the proxy named it."""

    candidates: list[Tip]
    model: str
    prompt_version: str
    prompt_tokens: int
    completion_tokens: int
    tries: int


class Observer(Protocol):
    """Is told of every generation: its outcome ("ok", "cancelled" or the name of an LlmError) and what it cost."""

    def generated(
        self, outcome: str, *, tries: int, prompt_tokens: int, completion_tokens: int, seconds: float
    ) -> None: ...


async def generate(
    client: ChatClient,
    prompts: Prompts,
    *,
    n: int,
    prompt_version: str | None = None,
    tasks: Sequence[Mapping[str, Any]] = (),
    hour_of_day: int = 12,
    day_of_week: int = 0,
    extra: Mapping[str, Any] | None = None,
    observer: Observer | None = None,
) -> Generated:
    """Ask for `n` tips and read them; a reply that cannot be read is corrected at most twice.

    `hour_of_day` is 0..23, `day_of_week` 0..6 from Monday. Raises UnknownPrompt, LlmNotConfigured, LlmUnavailable or
    LlmFailed. The last is also raised when the third reply cannot be read, and at once when a reply that cannot be read
    was cut off or is a refusal: asking again would cost as much and end the same way.
    """
    prompt = prompts.get(prompt_version)
    messages = prompt.messages(n=n, tasks=tasks, hour_of_day=hour_of_day, day_of_week=day_of_week, extra=extra)
    started = time.perf_counter()
    tries = prompt_tokens = completion_tokens = 0
    outcome = "cancelled"
    try:
        while True:
            tries += 1
            reply = await client.chat(messages)
            prompt_tokens += reply.prompt_tokens
            completion_tokens += reply.completion_tokens
            try:
                candidates = read(reply.content, n, whole=reply.stopped is None)
            except BadReply as error:
                if tries == TRIES or reply.stopped is not None:
                    wrong, said = client.quote(reply.stopped or str(error)), client.quote(reply.content)
                    times = f"{tries} tries" if tries > 1 else "1 try"
                    raise LlmFailed(f"no usable tips in {times}: {wrong}: {said or '(empty)'}") from None
                messages = [*messages, *_correction(reply.content, error)]
            else:
                outcome = "ok"
                return Generated(candidates, reply.model, prompt.version, prompt_tokens, completion_tokens, tries)
    except LlmError as error:
        outcome = type(error).__name__
        tries -= isinstance(error, LlmNotConfigured)  # the model was not asked
        raise
    finally:
        seconds = time.perf_counter() - started
        if observer is not None:
            observer.generated(
                outcome,
                tries=tries,
                prompt_tokens=prompt_tokens,
                completion_tokens=completion_tokens,
                seconds=seconds,
            )
        _log.log(
            logging.INFO if outcome in ("ok", "cancelled") else logging.WARNING,
            "generate outcome=%s prompt=%s tries=%d prompt_tokens=%d completion_tokens=%d ms=%.0f",
            outcome,
            prompt.version,
            tries,
            prompt_tokens,
            completion_tokens,
            seconds * 1000,
        )


def _correction(content: str, error: BadReply) -> list[Message]:
    """The bad reply, cut so that a very long one does not fill the model's context, and what to do instead."""
    return [
        # Some providers refuse an assistant's turn without text.
        Message("assistant", content[:ECHO_CHARACTERS] or "(empty)"),
        Message(
            "user",
            f"Your previous response was not valid JSON of the form asked for: {error}. Answer again with only a JSON "
            'array of objects, each with text in "content". No Markdown, no text before or after the array.',
        ),
    ]
