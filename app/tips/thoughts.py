"""Find the JSON values and the thoughts in a language model's reply.

Models think in tags of their own (`<think>`, `<reasoning>`, `[THINK]`, `<|channel|>analysis`), and their thoughts quote
what an answer could look like.
"""

import json
import re
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

__all__ = ["OPENINGS", "Span", "spans"]

# After so many brackets and tags the rest is not read: each may cost a search through all the text that follows.
OPENINGS: Final = 200

_THOUGHT: Final = "(?i:think|thinking|thoughts?|reason|reasoning|rationale|reflection|analysis|scratchpad|monologue)"
_NAME: Final = r"[A-Za-z][\w.:-]{0,63}"
# These tags are ignored and their content is read: they surround an answer, or lay it out.
_ANSWER: Final = ("answer", "final_answer", "final", "output", "response", "result", "results", "json", "array", "tips")
_LAYOUT: Final = ("html", "body", "div", "span", "p", "pre", "code", "b", "i", "em", "strong", "ul", "ol", "li")
_CLEAR: Final = frozenset(_ANSWER + _LAYOUT)
# One alternative for each way to write a tag, with an empty group that tells which one matched: a character that could
# begin a tag costs few comparisons.
_NEXT: Final = re.compile(
    rf"<(?:\|(?:(?i:/|end_of_|end_){_THOUGHT}\|>(?P<end>)|(?i:begin_of_|start_)?{_THOUGHT}\|>(?P<thought>)"
    r"|channel\|>(?!\s*final\b)(?P<channel>))"
    rf"|/{_THOUGHT}>(?P<end2>)|(?P<tag>{_NAME})(?:\s[^<>]{{0,300}})?>)"
    rf"|◁(?:/{_THOUGHT}▷(?P<end3>)|{_THOUGHT}▷(?P<thought2>))"
    r"|\[(?:/THINK\](?P<end4>)|THINK\](?P<thought3>)"
    # The start of an array or object; most brackets in prose do not look like it.
    r'|(?=\s*[\[{\]"\-\dtfn])(?P<value>))|\{(?=\s*["}])(?P<value2>)'
)
# The end of a thought, whichever tag it began with.
_END: Final = re.compile(rf"<(?:/{_THOUGHT}>|\|(?i:/|end_of_|end_){_THOUGHT}\|>)|◁/{_THOUGHT}▷|\[/THINK\]")
_CHANNEL_END: Final = re.compile(r"<\|(?:end|start|channel|return|call)\|>")
_IS_THOUGHT: Final = re.compile(_THOUGHT)
# Not `str.lower`, which makes two characters of some.
_LOWER: Final = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


class Span(NamedTuple):
    """A part of a text: a JSON value, a broken one, or a thought with all that is in it."""

    what: Literal["value", "broken", "thought"]
    start: int
    end: int


def spans(text: str) -> Iterator[Span]:
    """The outermost JSON arrays and objects of `text`, and its thoughts, in the order in which they end.

    Tags of other names hide their content too, except those that lay out an answer; a tag that is never closed is text.
    A thought that is never closed goes on to the end; one that is closed but was never opened began with the text. A
    broken value ends where it broke and is not searched: an array inside a truncated object is not an answer. Stops
    after `OPENINGS` brackets and tags.
    """
    lowered = text.translate(_LOWER) if "</" in text else ""
    at = 0
    for _ in range(OPENINGS):
        match = _NEXT.search(text, at)
        if match is None:
            return
        span = _span(text, lowered, match)
        at = max(span.end, match.end()) if span else match.end()
        if span:
            yield span


def _span(text: str, lowered: str, opening: re.Match[str]) -> Span | None:
    start, end = opening.span()
    match (opening.lastgroup or "").rstrip("234"):
        case "value":
            return _value(text, start)
        case "end":
            return Span("thought", 0, end)
        case "channel":
            ended = _CHANNEL_END.search(text, end)
            return Span("thought", start, ended.start() if ended else len(text))
        case "tag" if not _IS_THOUGHT.fullmatch(opening["tag"]):
            name = opening["tag"].translate(_LOWER)
            closed = -1 if name in _CLEAR else lowered.find(f"</{name}>", end)
            return Span("thought", start, closed) if closed >= 0 else None
    ended = _END.search(text, end)
    return Span("thought", start, ended.end() if ended else len(text))


def _constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


# Whole numbers are read as floats: Python refuses very long ones, and only the extent of a value is needed.
_SCAN: Final = json.JSONDecoder(parse_constant=_constant, parse_int=float)


def _value(text: str, start: int) -> Span:
    try:
        _, end = _SCAN.raw_decode(text, start)
    except json.JSONDecodeError as error:
        return Span("broken", start, error.pos)
    except (ValueError, RecursionError):
        return Span("broken", start, len(text))
    return Span("value", start, end)
