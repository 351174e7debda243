"""Read the tips in a language model's reply: the last JSON array outside of its thoughts."""

from collections.abc import Sequence
from typing import Any, Final, get_args

import msgspec

from app.messages.basics import TipId
from app.messages.decoding import decoded
from app.tips.thoughts import spans

__all__ = ["BadReply", "Tip", "read"]

# A reward must be able to name the tip.
LONGEST_ID: Final[int] = get_args(TipId)[1].max_length


class Tip(msgspec.Struct, frozen=True):
    """One candidate; `id` is 1..256 characters and distinct within an answer."""

    id: str
    content: str
    rationale: str | None = None


class BadReply(ValueError):
    """The reply is not a JSON array of objects with text in `content`; the message says what it is instead."""


class _Item(msgspec.Struct):
    content: str
    id: Any = None
    rationale: Any = None


def read(text: str, n: int, *, whole: bool = True) -> list[Tip]:
    """The first `n` tips of the last JSON array in `text`, of objects with text in `content`.

    What surrounds the array does not matter, such as a sentence or a Markdown fence. An array inside another JSON value
    does not count, nor one in the model's thoughts (see `app.tips.thoughts`). If the text is not `whole`, an array does
    not count either when another value begins after it: that one may have been the answer. Reads each character a few
    times at most, and stops after `OPENINGS` brackets and tags. Raises BadReply.
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


_ITEMS: Final = msgspec.json.Decoder(list[_Item])


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
    """Give every item an id of its own: `tip-{index}` if it has none, with a number if it is taken."""
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
    """An id that a reward can name later: a text, or a whole number as text; None for anything else."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    return text if isinstance(text, str) and 0 < len(text) <= LONGEST_ID else None


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
