"""JSON from clients, decoded strictly, and if that fails once more with its known faults mended.

Three faults are common and harmless: a byte-order mark before the text, half of a surrogate pair (a text cut in the
middle of an emoji), and Python's NaN and Infinity where a message allows any value. Everything else is an error.
"""

import re
from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

__all__ = ["decoded", "mended"]

T = TypeVar("T")

_MARK: Final = b"\xef\xbb\xbf"
_BACKSLASH: Final = rb"\\"  # as JSON writes it
_STAND_IN: Final = b"\xff\xff"  # as long, and never in UTF-8
_HIGH: Final = rb"\\u[dD][89abAB][0-9a-fA-F]{2}"
_LOW: Final = rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_HALF: Final = re.compile(rb"(?<!%b)%b|%b(?!%b)" % (_HIGH, _LOW, _HIGH, _LOW))
# A string, ended or not, or a constant. A string never fails to match, so nothing is looked at twice; and without
# possessive quantifiers, with which Python 3.11.2 misses some.
_TOKEN: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|NaN|-?Infinity', re.DOTALL)
_MOST_CONSTANTS: Final = 100
# Three times the strings of a request with the most candidates; a million empty ones would take half a second.
_MOST_TOKENS: Final = 100_000
# No JSON string contains it, since a tab in a string must be escaped; so it marks the places safely.
_ABSENT: Final = b"\t\rnull\r\t"
_top: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def decoded(decode: Callable[[bytes], T], body: bytes, *, loose: str | None = None) -> T:
    """`decode(body)`, or `decode` of the mended body if that is not JSON. Raises what `decode` raises.

    A well-formed body is decoded once. A user id is never mended: such a message raises msgspec.ValidationError.
    """
    try:
        return decode(body)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        better = mended(body, loose=loose)
        if better == body:
            raise
        message = decode(better)
    if "\ufffd" in getattr(message, "user_id", ""):
        # Two ids cut at different emoji would become one user.
        raise msgspec.ValidationError("half of a surrogate pair - at `$.user_id`")
    return message


def mended(body: bytes, *, loose: str | None = None) -> bytes:
    """`body` without a byte-order mark, and with U+FFFD for each half of a surrogate pair.

    If `loose` names a field of the outermost object that is itself an object, NaN and Infinity in it become null,
    provided that there are at most 100 and none elsewhere. The time is linear in the length of the body.
    """
    body = body.removeprefix(_MARK)
    if _STAND_IN[:1] in body:
        return body  # it is not UTF-8
    if rb"\u" in body:
        # Each pair of backslashes is taken away first, so each one left begins an escape.
        body = _HALF.sub(rb"\\ufffd", body.replace(_BACKSLASH, _STAND_IN)).replace(_STAND_IN, _BACKSLASH)
    if loose is not None and (b"NaN" in body or b"Infinity" in body):
        body = _without_constants(body, loose)
    return body


def _without_constants(body: bytes, loose: str) -> bytes:
    parts: list[bytes] = []
    at = 0
    for count, token in enumerate(_TOKEN.finditer(body)):
        if count == _MOST_TOKENS:
            return body
        if token[0].startswith(b'"'):
            continue
        parts.append(body[at : token.start()])
        at = token.end()
        if len(parts) > _MOST_CONSTANTS:
            return body
    parts.append(body[at:])
    if len(parts) == 1 or _ABSENT in body:
        return body
    better = _ABSENT.join(parts)
    try:
        within = bytes(_top(better).get(loose, b""))
    except (ValueError, RecursionError):
        return body
    return better if within.startswith(b"{") and within.count(_ABSENT) == len(parts) - 1 else body
