"""Generate tips: a prompt, a chat, a strict reading of the reply, and a correction when it cannot be read."""

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from app.decoding import decoded
from app.llm import ChatClient, LlmError, LlmFailed, LlmNotConfigured
from app.prompts import Message, Prompts
from app.thoughts import spans

__all__ = ["BadReply", "Generated", "Observer", "Tip", "generate", "read"]

TRIES = 3
ECHO_CHARACTERS = 8_000
LONGEST_ID = 256

log = logging.getLogger("oo.llm")


class Tip(msgspec.Struct, frozen=True):
    """One candidate; `id` is 1..256 characters and distinct within an answer."""

    id: str
    content: str
    rationale: str | None = None


class Generated(msgspec.Struct, frozen=True):
    """The tips and what they cost: tokens over all `tries`, `model` as the proxy named it."""

    candidates: list[Tip]
    model: str
    prompt_version: str
    prompt_tokens: int
    completion_tokens: int
    tries: int


class Observer(Protocol):
    """Is told of every generation: what came of it ("ok", "cancelled" or the name of an LlmError) and what it took."""

    def generated(
        self, outcome: str, *, tries: int, prompt_tokens: int, completion_tokens: int, seconds: float
    ) -> None: ...


class BadReply(ValueError):
    """The reply is not a JSON array of objects with text in `content`; the message says what it is instead."""


class _Item(msgspec.Struct):
    content: str
    id: Any = None
    rationale: Any = None


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
    """Ask for `n` tips and read them, with at most two corrections of a reply that cannot be read.

    `hour_of_day` is 0..23, `day_of_week` 0..6 from Monday. Raises UnknownPrompt, LlmNotConfigured, LlmUnavailable, or
    LlmFailed, the last also when the third reply is still unreadable, and at once when a reply that cannot be read was
    cut off at the token limit or is a refusal: the same question would be paid for again in vain.
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
        tries -= isinstance(error, LlmNotConfigured)  # nobody was asked
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
        log.log(
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
    """The bad reply, bounded so that a runaway one does not fill the model's context, and what to do instead."""
    return [
        # Some providers refuse an assistant's turn without text.
        Message("assistant", content[:ECHO_CHARACTERS] or "(empty)"),
        Message(
            "user",
            f"Your previous response was not valid JSON of the form asked for: {error}. Answer again with only a JSON "
            'array of objects, each with text in "content". No Markdown, no text before or after the array.',
        ),
    ]


def read(text: str, n: int, *, whole: bool = True) -> list[Tip]:
    """The first `n` tips of the last JSON array of objects with text in `content` that stands in `text`.

    What surrounds the array does not matter (a sentence, a Markdown fence of any kind); an array inside another JSON
    value does not count, nor does one in a model's thoughts: see `app.thoughts`. Of a text that is not `whole` an array
    does not count either if a value after it was begun: that may have been the answer. Raises BadReply. Reads every
    character a few times at most, and gives up after `OPENINGS` brackets and tags.
    """
    wrong = "it holds no JSON array"
    items: list[_Item] | None = None
    at = 0
    for span in spans(text):
        if span.what == "thought":
            if items is None or span.start <= at:
                items, wrong = None, "it holds no JSON array outside of its thoughts"
        elif span.what == "broken":
            wrong = "its JSON is malformed or cut off"
            items = items if whole else None
        elif text[span.start] != "[":
            wrong = "it is an object, not an array"
        else:
            try:
                items, at = _items(text[span.start : span.end]), span.start
            except BadReply as error:
                wrong = str(error)
    if items is None:
        raise BadReply(wrong)
    return _tips(items[:n])


_ITEMS = msgspec.json.Decoder(list[_Item])


def _items(text: str) -> list[_Item]:
    """The items of an array; raises BadReply."""
    try:
        items = decoded(_ITEMS.decode, text.encode())
    except (ValueError, RecursionError) as error:
        raise BadReply(_lower(str(error))) from None
    blank = next((at for at, item in enumerate(items) if not item.content.strip()), None)
    if not items:
        raise BadReply("the array is empty")
    if blank is not None:
        raise BadReply(f"there is no text in `content` - at `$[{blank}]`")
    return items


def _tips(items: Sequence[_Item]) -> list[Tip]:
    """Give every item an id of its own: `tip-{index}` if it has none, and a number after one that is taken."""
    ids = [_id(item.id) for item in items]
    taken = {f"tip-{index}" for index, id_ in enumerate(ids) if id_ is None}
    tips = []
    for index, (item, id_) in enumerate(zip(items, ids, strict=True)):
        if id_ is None:
            name = f"tip-{index}"
        else:
            name, count = id_, 1
            while name in taken:
                count += 1
                name = f"{id_[: LONGEST_ID - 8]}-{count}"
            taken.add(name)
        rationale = item.rationale if isinstance(item.rationale, str) and item.rationale else None
        tips.append(Tip(name, item.content, rationale))
    return tips


def _id(value: object) -> str | None:
    """A text, or a number as text, that a reward can name later; None for anything else."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    return text if isinstance(text, str) and 0 < len(text) <= LONGEST_ID else None


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
