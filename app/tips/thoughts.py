"""Where JSON values stand in what a language model wrote, and which of its text is thought and not an answer.

Models think in tags of their own (`<think>`, `<reasoning>`, `[THINK]`, `<|channel|>analysis`), and quote in their
thoughts what an answer could look like.
"""

import json
import re
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

__all__ = ["OPENINGS", "Span", "spans"]

# Brackets and tags looked at before the rest of a text is left unread: each may cost a look at all that follows.
OPENINGS: Final = 200

_THOUGHT: Final = "(?i:think|thinking|thoughts?|reason|reasoning|rationale|reflection|analysis|scratchpad|monologue)"
_NAME: Final = r"[A-Za-z][\w.:-]{0,63}"
# What is within these tags counts as if they were not there: they show an answer, or how to lay it out.
_CLEAR: Final = frozenset(
    (
        "answer",
        "final_answer",
        "final",
        "output",
        "response",
        "result",
        "results",
        "json",
        "array",
        "tips",
        "html",
        "body",
        "div",
        "span",
        "p",
        "pre",
        "code",
        "b",
        "i",
        "em",
        "strong",
        "ul",
        "ol",
        "li",
    )
)
# Each way of writing a tag has one place, and an empty group tells which one matched: so a character that could begin
# one costs few comparisons.
_NEXT: Final = re.compile(
    rf"<(?:\|(?:(?i:/|end_of_|end_){_THOUGHT}\|>(?P<end>)|(?i:begin_of_|start_)?{_THOUGHT}\|>(?P<thought>)"
    r"|channel\|>(?!\s*final\b)(?P<channel>))"
    rf"|/{_THOUGHT}>(?P<end2>)|(?P<tag>{_NAME})(?:\s[^<>]{{0,300}})?>)"
    rf"|◁(?:/{_THOUGHT}▷(?P<end3>)|{_THOUGHT}▷(?P<thought2>))"
    r"|\[(?:/THINK\](?P<end4>)|THINK\](?P<thought3>)"
    # Where an array or object may begin; brackets in prose mostly do not look like it.
    r'|(?=\s*[\[{\]"\-\dtfn])(?P<value>))|\{(?=\s*["}])(?P<value2>)'
)
# The end of a thought, whichever of the tags it began with.
_END: Final = re.compile(rf"<(?:/{_THOUGHT}>|\|(?i:/|end_of_|end_){_THOUGHT}\|>)|◁/{_THOUGHT}▷|\[/THINK\]")
_CHANNEL_END: Final = re.compile(r"<\|(?:end|start|channel|return|call)\|>")
_IS_THOUGHT: Final = re.compile(_THOUGHT)
# Not `lower`, which makes some letters two.
_LOWER: Final = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


class Span(NamedTuple):
    """A part of a text: a JSON value, one that cannot be read, or a thought, with all in it."""

    what: Literal["value", "broken", "thought"]
    start: int
    end: int


def spans(text: str) -> Iterator[Span]:
    """The outermost JSON arrays and objects of `text` and its thoughts, in the order in which they end.

    A tag of any other name hides what is within it too, unless it is one that shows an answer; a tag that is never
    closed is text. A thought that is never closed goes on to the end; one that is closed but was never opened began
    with the text. What cannot be read is passed over up to where it broke, and not looked into: an array inside a
    truncated object is no answer. Gives up after `OPENINGS` brackets and tags.
    """
    lowered = text.translate(_LOWER) if "</" in text else ""
    at = 0
    for _ in range(OPENINGS):
        found = _NEXT.search(text, at)
        if found is None:
            return
        span = _span(text, lowered, found)
        at = max(span.end, found.end()) if span else found.end()
        if span:
            yield span


def _span(text: str, lowered: str, found: re.Match[str]) -> Span | None:
    start, end = found.span()
    match (found.lastgroup or "").rstrip("234"):
        case "value":
            return _value(text, start)
        case "end":
            return Span("thought", 0, end)
        case "channel":
            ended = _CHANNEL_END.search(text, end)
            return Span("thought", start, ended.start() if ended else len(text))
        case "tag" if not _IS_THOUGHT.fullmatch(found["tag"]):
            name = found["tag"].translate(_LOWER)
            closed = -1 if name in _CLEAR else lowered.find(f"</{name}>", end)
            return Span("thought", start, closed) if closed >= 0 else None
    ended = _END.search(text, end)
    return Span("thought", start, ended.end() if ended else len(text))


def _constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


# Integers are read as floats: Python refuses to read very long ones, and only the extent is wanted here.
_SCAN: Final = json.JSONDecoder(parse_constant=_constant, parse_int=float)


def _value(text: str, start: int) -> Span:
    try:
        _, end = _SCAN.raw_decode(text, start)
    except json.JSONDecodeError as error:
        return Span("broken", start, error.pos)
    except (ValueError, RecursionError):
        return Span("broken", start, len(text))
    return Span("value", start, end)
