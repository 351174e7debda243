"""JSON with faults that are mended: exactly those, wherever they stand, and nothing besides."""

import json
import time
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.messages.classic import RewardRequest
from app.messages.decoding import decoded, mended
from app.messages.reading import Reader, Unreadable
from app.messages.tips import GenerateRequest

FIELD = "profile_features"
# Halves of pairs, and all that could be taken for one, or for a constant.
texts = st.text(st.sampled_from('\\"uUdD8eEfF03 []{},:-/') | st.characters(), max_size=12) | st.lists(
    st.sampled_from(["\ud83d", "\ude00", "😀", "\\", "\\u", "ud83d", "NaN", "-Infinity", '"', "\ufeff", "n", "\ufffd"]),
    max_size=8,
).map("".join)
odd_numbers = st.sampled_from([float("nan"), float("inf"), float("-inf")])
scalars = st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False, allow_infinity=False) | texts


def nested(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=8
    )


def halves_replaced(value: Any) -> Any:
    """`value` as it is to be read: U+FFFD for each half of a pair, null for what is not a number."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [halves_replaced(item) for item in value]
    if isinstance(value, dict):
        return {halves_replaced(key): halves_replaced(item) for key, item in value.items()}
    return None if isinstance(value, float) and value - value != 0 else value


@given(nested(scalars), st.booleans())
@example("\ud83d\ud83d\ude00\ude00", False)
@example("\\\ud83d\\\\ude00\\ud83d\ude00", False)
def test_halves_of_pairs(value: Any, mark: bool) -> None:
    """In texts and in names each becomes U+FFFD; pairs, escaped backslashes and all else are as Python reads them."""
    written = json.dumps(value)
    expected = halves_replaced(json.loads(written))
    assert decoded(msgspec.json.decode, b"\xef\xbb\xbf" * mark + written.encode()) == expected


@given(nested(scalars))
def test_sound_text_is_not_touched(value: Any) -> None:
    """What can be decoded comes out of the mending byte for byte."""
    written = json.dumps(halves_replaced(value)).encode()
    assert mended(written, loose=FIELD) == written


@given(
    st.dictionaries(texts, nested(scalars), max_size=3),
    st.dictionaries(texts, nested(scalars | odd_numbers), min_size=1, max_size=4),
    st.sampled_from([(None, ": "), (1, ": "), ("\t", " :\r\n\t")]),
)
def test_constants_in_the_loose_field(around: dict[str, Any], loose: dict[str, Any], spaces: tuple[Any, str]) -> None:
    """NaN and Infinity are null there, and text that only looks like them stays."""
    message = around | {FIELD: loose}
    written = json.dumps(message, indent=spaces[0], separators=(",", spaces[1]))
    expected = halves_replaced(json.loads(written))
    assert decoded(msgspec.json.decode, mended(written.encode(), loose=FIELD)) == expected


# A value with a constant in it, somewhere.
odd_values = st.recursive(
    odd_numbers,
    lambda inner: st.lists(inner, min_size=1, max_size=3) | st.dictionaries(texts, inner, min_size=1, max_size=3),
    max_leaves=4,
)


@given(odd_values, st.dictionaries(texts, nested(scalars | odd_numbers), max_size=3))
def test_constants_elsewhere(odd: Any, loose: dict[str, Any]) -> None:
    """One that stands anywhere else keeps the whole from being read, also in a loose field that is not an object."""
    for message in ({"x": odd, FIELD: loose}, {FIELD: loose, "x": odd}, {FIELD: [odd]}, {"x": {FIELD: odd}}, [odd]):
        with pytest.raises(msgspec.DecodeError):
            decoded(msgspec.json.decode, json.dumps(message).encode(), loose=FIELD)


@pytest.mark.parametrize(
    "body",
    [
        b'{"profile_features": NaN}',
        b'{"profile_features": [NaN]}',
        b'{"profile_features": {"a": NaN}, "profile_features": {"a": 1}}',
        b'{"profile_features": {"a": NaNNaN}}',
        b'{"profile_features": {"a": nan}}',
        b'{"profile_features": {"a": +Infinity}}',
        b'{"profile_features": {"a": --Infinity}}',
        b'{"profile_features": {"a": -NaN}}',
        b'{"profile_features": {"a": 1NaN}}',
        b'{"profile_features": {"a": Infinity1}}',
        b'{"profile_features": {NaN: 1}}',
        b'{"profile_features": {"a": NaN}',
        b'{"profile_features": {"a": NaN}} NaN',
        b'{"profile_features": {"a": \t\rnull\r\t}, "x": NaN}',
        b'{"profile_features": {"a": [' + b"NaN," * 100 + b"NaN]}}",
        rb'{"profile_features": {"a": \ud83d}}',
        rb'\ufeff{"profile_features": {}}',
        b'\xef\xbb\xbf\xef\xbb\xbf{"profile_features": {}}',
        b'{"profile_features": {"a": NaN}, "x": "\xff\xff"}',
        b'{"profile_features": {"a": NaN, "b": "\t"}}',
    ],
)
def test_other_faults_stay(body: bytes) -> None:
    """What resembles a known fault is not mended."""
    with pytest.raises(Unreadable):
        Reader(dict)(body)


def test_the_name_of_the_loose_field_may_be_escaped() -> None:
    """JSON has several ways to write a name, and all mean the same."""
    body = rb'{"profile\u005ffeatures": {"a": NaN, "b": "\ud83d NaN"}}'
    assert Reader(dict)(body) == {FIELD: {"a": None, "b": "\ufffd NaN"}}


def test_what_is_decoded_at_once_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sound body, and one that is JSON but not the message, cost one decoding."""
    monkeypatch.setattr("app.messages.decoding.mended", None)
    assert Reader(GenerateRequest)(b'{"user_id": "a", "x": "\\ud83d\\ude00 NaN"}').user_id == "a"
    with pytest.raises(Unreadable, match="Expected `str`"):
        Reader(GenerateRequest)(b'{"user_id": 1}')


def test_an_error_is_that_of_the_mended_body() -> None:
    """A client learns of what it can mend itself."""
    body = b'{"user_id": "a\\ud83d", "tip_id": "t", "reward": 5, "features": {}}'
    with pytest.raises(Unreadable, match=r"<= 1.0 - at `\$.reward`"):
        Reader(RewardRequest)(body)


MIB = 2**20
RUNAWAY = {
    "backslashes": b'"' + b"\\" * MIB,
    "halves": b'"' + rb"\ud83d" * (MIB // 6),
    "pairs": b'"' + rb"\ud83d\ude00" * (MIB // 12) + b"\\",
    "constants": b'{"profile_features": [' + b"NaN," * (MIB // 4),
    "halves of constants": b"Infinit" * (MIB // 7) + b"NaN",
    "quotes": b'"' * (MIB + 1) + b"NaN",
    "escaped quotes": rb'"a\"' * (MIB // 4) + b"NaN",
    "dashes": b"-" * MIB + b"NaN",
    "brackets": b"[" * MIB + b"NaN",
    "many fields": b'{"profile_features":{' + b'"":[],' * (MIB // 6) + b'"":NaN},"x":NaN}',
}


@pytest.mark.parametrize("body", RUNAWAY.values(), ids=RUNAWAY.keys())
def test_mending_takes_linear_time(body: bytes) -> None:
    """A mebibyte of what looks like faults is refused in a time that other requests do not notice for long."""
    started = time.process_time()
    with pytest.raises(Unreadable):
        Reader(dict)(body)
    # It takes 0.1 s. Were it quadratic, it would be minutes.
    assert time.process_time() - started < 10


class _OfUser(msgspec.Struct):
    user_id: str
    text: str = ""


def test_a_user_id_is_not_mended() -> None:
    """Two ids that were cut at different emoji must not become one user; an id that holds U+FFFD itself is taken."""
    decode = msgspec.json.Decoder(_OfUser).decode
    with pytest.raises(msgspec.ValidationError, match="user_id"):
        decoded(decode, rb'{"user_id": "ann \ud83d"}')
    assert decoded(decode, rb'{"user_id": "ann", "text": "\ud83d"}') == _OfUser("ann", "\ufffd")
    assert decoded(decode, rb'{"user_id": "\ufffd"}') == _OfUser("\ufffd")


def test_too_many_strings_are_not_looked_through() -> None:
    """What a stranger sends must not hold up others."""
    assert mended(b'{"p": {"a": NaN}, "b": [' + b'"",' * 99_990 + b"0]}", loose="p").count(b"null") == 1
    body = b'{"b": [' + b'"",' * 100_001 + b'0], "p": {"a": NaN}}'
    assert mended(body, loose="p") == body
