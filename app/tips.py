"""Generate tips: a prompt, a chat, a strict reading of the reply, and a correction when it cannot be read."""

import json
import logging
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Protocol

import msgspec

from app.llm import ChatClient, LlmError, LlmFailed, LlmNotConfigured
from app.prompts import Message, Prompts

__all__ = ["BadReply", "Generated", "Observer", "Tip", "generate", "read"]

TRIES = 3
ECHO_CHARACTERS = 8_000
LONGEST_ID = 256
OPENINGS = 200

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
    """The reply is no JSON array of objects with text in `content`; the message says what it is instead."""


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
    LlmFailed, the last also when the third reply is still unreadable.
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
                candidates = read(reply.content, n)
            except BadReply as error:
                if tries == TRIES:
                    wrong, said = client.quote(str(error)), client.quote(reply.content)
                    raise LlmFailed(f"no usable tips in {tries} tries: {wrong}: {said or '(empty)'}") from None
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


def read(text: str, n: int) -> list[Tip]:
    """The first `n` tips of the first JSON array of objects with text in `content` that stands in `text`.

    What surrounds the array does not matter (a sentence, a Markdown fence of any kind); an array inside another JSON
    value does not count, nor does one in the thoughts with which a reasoning model begins. Raises BadReply. Reads every
    character a few times at most, and gives up after `OPENINGS` brackets.
    """
    if thoughts := _THOUGHTS.match(text):
        text = text[thoughts.end() :]
    wrong = BadReply("it holds no JSON array")
    for start, end in islice(_values(text), OPENINGS):
        if end is None:
            wrong = BadReply("its JSON is malformed or cut off")
            continue
        if text[start] != "[":
            wrong = BadReply("it is an object, not an array")
            continue
        try:
            items = _ITEMS.decode(text[start:end])
        except (ValueError, RecursionError) as error:
            wrong = BadReply(_lower(str(error)))
            continue
        blank = next((at for at, item in enumerate(items) if not item.content.strip()), None)
        if not items:
            wrong = BadReply("the array is empty")
        elif blank is not None:
            wrong = BadReply(f"there is no text in `content` - at `$[{blank}]`")
        else:
            return _tips(items[:n])
    raise wrong


_ITEMS = msgspec.json.Decoder(list[_Item])
# At the beginning only: a tip may speak of such tags.
_THOUGHTS = re.compile(r"(?:\s*<think>.*?(?:</think>|\Z))+", re.DOTALL)
# Where an array or object may begin; brackets in prose mostly do not look like it.
_OPENING = re.compile(r'\[(?=\s*[\[{\]"\-\dtfn])|\{(?=\s*["}])')


def _constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


# Integers are read as floats: Python refuses to read very long ones, and only the extent is wanted here.
_SCAN = json.JSONDecoder(parse_constant=_constant, parse_int=float)


def _values(text: str) -> Iterator[tuple[int, int | None]]:
    """Where the outermost JSON arrays and objects of `text` begin and end; the end is None if one cannot be read.

    What cannot be read is passed over up to where it broke, and not looked into: an array inside a truncated object
    is no answer.
    """
    at = 0
    while opening := _OPENING.search(text, at):
        try:
            _, at = _SCAN.raw_decode(text, opening.start())
        except json.JSONDecodeError as error:
            yield opening.start(), None
            at = max(error.pos, opening.end())
        except (ValueError, RecursionError):
            yield opening.start(), None
            return
        else:
            yield opening.start(), at


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
