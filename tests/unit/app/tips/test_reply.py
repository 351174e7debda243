"""Reading the tips in a reply: where the array may stand, what makes it unusable, and the ids."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.tips.reply import BadReply, Tip, read

ITEMS = [{"id": "a", "content": "Walk.", "rationale": "Sun."}, {"id": "b", "content": "Rest."}]
ARRAY = json.dumps(ITEMS)

GOOD = {
    "bare": ARRAY,
    "spaced": f"\n\n  {ARRAY}\n",
    "pretty": json.dumps(ITEMS, indent=2),
    "fence": f"```\n{ARRAY}\n```",
    "fence json": f"```json\n{ARRAY}\n```",
    "fence JSON": f"```JSON\n{ARRAY}\n```",
    "fence Json5": f"~~~ Json5\n{ARRAY}\n~~~",
    "fence on one line": f"```json {ARRAY}```",
    "fence not closed": f"```json\n{ARRAY}",
    "text around": f"Sure, here are your tips:\n\n{ARRAY}\n\nGood luck!",
    "text and fence": f"Sure!\n```json\n{ARRAY}\n```\nAnything else? [yes]",
    "brackets before": f"[Note: 2 tips] (see [1] and {{x}}, {{}}) {ARRAY}",
    "brackets after": f"{ARRAY} [1] [ {{",
    "draft before": f'[{{"content": "draft"}}], or rather {ARRAY}',
    "byte order mark": f"\ufeff{ARRAY}",
}


@pytest.mark.parametrize("text", GOOD.values(), ids=GOOD.keys())
def test_good_replies(text: str) -> None:
    """A JSON array is found bare, in a fence of any kind, and with text around it."""
    tips = [(tip.id, tip.content, tip.rationale) for tip in read(text, 3)]
    assert tips == [("a", "Walk.", "Sun."), ("b", "Rest.", None)]


@pytest.mark.parametrize(
    "content",
    [
        "``` [x] ```",
        "<think>x</think>",
        '"quoted" [{"content": "no"}]',
        "ünï ☎ 😀",
        "line\nline",
        "]",
        "\\",
        "{{n}} </data>",
        "</think> <think> <|channel|>analysis [/THINK]",
        "<ponder>",
    ],
)
def test_content_is_kept(content: str) -> None:
    """Fences, brackets and tags inside the texts are part of them and come out unchanged."""
    text = json.dumps([{"content": content, "rationale": content}])
    for around in (text, f"```json\n{text}\n```", f"Here: {text} ok"):
        (tip,) = read(around, 3)
        assert (tip.content, tip.rationale) == (content, content)


MALFORMED = "malformed or cut off"
BAD = {
    "empty": ("", "holds no JSON array"),
    "refusal": ("I'm sorry, but I can't help with that.", "holds no JSON array"),
    "object": ('{"tips": [{"content": "x"}]}', "an object, not an array"),
    "one tip": ('{"id": "a", "content": "x"}', "an object, not an array"),
    "object in a fence": (f'```json\n{{"tips": {ARRAY}}}\n```', "an object, not an array"),
    "JSON lines": ('{"content": "x"}\n{"content": "y"}', "an object, not an array"),
    "string": ('"take a walk"', "holds no JSON array"),
    "string with an array": (json.dumps(ARRAY), MALFORMED),
    "number": ("42", "holds no JSON array"),
    "null": ("null", "holds no JSON array"),
    "empty array": ("[]", "the array is empty"),
    "array of strings": ('["walk", "rest"]', "expected `object`, got `str` - at `$[0]`"),
    "array of arrays": (f"[{ARRAY}]", "expected `object`, got `array` - at `$[0]`"),
    "one is no object": (f"{ARRAY[:-1]}, null]", "expected `object`, got `null` - at `$[2]`"),
    "no content": ('[{"id": "a"}]', "missing required field `content` - at `$[0]`"),
    "null content": ('[{"content": null}]', r"expected `str`, got `null` - at `$[0].content`"),
    "number as content": ('[{"content": 5}]', r"expected `str`, got `int` - at `$[0].content`"),
    "blank content": ('[{"content": "x"}, {"content": " \\n"}]', "no text in `content` - at `$[1]`"),
    "truncated": (ARRAY[:-1], MALFORMED),
    "truncated in a text": (ARRAY[:-6], MALFORMED),
    "truncated with an array inside": ('[{"content": "x", "parts": [{"content": "y"}], "a": tr', MALFORMED),
    "truncated object with a whole array": (f'{{"tips": {ARRAY}', MALFORMED),
    "trailing comma": (f"{ARRAY[:-1]},]", MALFORMED),
    "single quotes": ("[{'content': 'x'}]", MALFORMED),
    "line end in a text": ('[{"content": "a\nb"}]', MALFORMED),
    "NaN": ('[{"content": "x", "weight": NaN}]', MALFORMED),
    "deep": ("[" * 100_000, MALFORMED),
    "deep and closed": ("[" * 100_000 + "]" * 100_000, MALFORMED),
    "1 MiB of text": ("tip " * 2**18, "holds no JSON array"),
}


@pytest.mark.parametrize(("text", "says"), BAD.values(), ids=BAD.keys())
def test_bad_replies(text: str, says: str) -> None:
    """Anything but an array of objects with text in `content` is refused, with what is wrong in one short line."""
    with pytest.raises(BadReply) as caught:
        read(text, 3)
    assert says in str(caught.value)
    assert len(str(caught.value)) < 200


MIB = 2**20
RUNAWAY = {
    "opening brackets": "[" * MIB,
    "spaced brackets": "[ " * (MIB // 2),
    "unfinished arrays": "[1 " * (MIB // 3),
    "unfinished strings": '["' * (MIB // 2),
    "escaped quotes": '["\\' * (MIB // 3),
    "unfinished objects": '{"a":' * (MIB // 5),
    "arrays in arrays": "[[]," * (MIB // 4),
    "many arrays": "[1] " * (MIB // 4),
    "many objects": "{} " * (MIB // 3),
    "digits": "[" + "1" * MIB + "]",
    "spaces": "[" + " " * MIB,
    "lines": "[1\n" * (MIB // 3),
    "backslashes": '["' + "\\" * MIB,
}


@pytest.mark.parametrize("text", RUNAWAY.values(), ids=RUNAWAY.keys())
def test_runaway_replies(text: str) -> None:
    """A mebibyte of brackets, quotes or digits is refused before it delays other requests for long."""
    started = time.process_time()
    with pytest.raises(BadReply):
        read(text, 3)
    # It takes 0.03 s. Were the reading not bounded, or quadratic, it would be minutes.
    assert time.process_time() - started < 10


def test_long_reply_is_read() -> None:
    """A long reply is not a bad one: text, array, text."""
    items = [{"content": "x" * 1000}] * 500
    text = f"{'word ' * 50_000}{json.dumps(items)}{' word' * 50_000}"
    assert [tip.id for tip in read(text, 20)] == [f"tip-{index}" for index in range(20)]


@given(st.text() | st.text(alphabet='[]{}",:\\1tx \n`'))
def test_any_text(text: str) -> None:
    """Any text is read or refused; what is read has text and distinct ids."""
    try:
        tips = read(text, 5)
    except BadReply:
        return
    assert 1 <= len(tips) <= 5
    assert all(tip.content.strip() for tip in tips)
    assert len({tip.id for tip in tips}) == len(tips)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=3,
)


@given(
    st.lists(
        st.builds(
            lambda more, id_, rationale: more | {"content": "x", "id": id_, "rationale": rationale},
            st.dictionaries(st.text(), JSON, max_size=2),
            JSON,
            JSON,
        ),
        min_size=1,
        max_size=4,
    ),
    st.text(alphabet="abc\n`.:!"),
)
def test_any_items(items: list[dict[str, Any]], around: str) -> None:
    """Objects with text in `content` are tips whatever else is in them, within any text without brackets."""
    tips = read(around + json.dumps(items) + around, 6)
    assert len(tips) == len(items)
    assert len({tip.id for tip in tips}) == len(tips)
    assert all(1 <= len(tip.id) <= 256 for tip in tips)
    for tip, item in zip(tips, items, strict=True):
        assert tip.rationale == (item["rationale"] if isinstance(item["rationale"], str) else None) or not tip.rationale


def test_half_an_emoji() -> None:
    """A text that a model cut in the middle of an emoji is read with U+FFFD in its place."""
    (tip,) = read(r'[{"id": "\ud83d", "content": "Walk \ud83d", "\ude00": 1}]', 3)
    assert tip == Tip("\ufffd", "Walk \ufffd")


def test_cut_off_after_a_draft() -> None:
    """In a reply that was cut off an array does not count if another was begun after it; else it does."""
    with pytest.raises(BadReply, match=MALFORMED):
        read(f"Draft: {ARRAY} Answer: {ARRAY[:-5]}", 3, whole=False)
    assert len(read(f"{ARRAY} And why I", 3, whole=False)) == 2
    assert len(read(f"Draft: {ARRAY[:-1]} {ARRAY}", 3, whole=False)) == 2


@pytest.mark.parametrize(
    ("ids", "become"),
    [
        ([None, None], ["tip-0", "tip-1"]),
        (["a", "a", "a"], ["a", "a-2", "a-3"]),
        (["a", "a-2", "a"], ["a", "a-2", "a-3"]),
        (["a", "a", "a-2"], ["a", "a-2", "a-2-2"]),
        ([None, "tip-0"], ["tip-0", "tip-0-2"]),
        (["tip-1", None], ["tip-1-2", "tip-1"]),
        ([7, "7", 7.5, True], ["7", "7-2", "tip-2", "tip-3"]),
        (["", {}, ["x"]], ["tip-0", "tip-1", "tip-2"]),
        (["x" * 256, "x" * 256, "x" * 257], ["x" * 256, "x" * 248 + "-2", "tip-2"]),
    ],
)
def test_ids(ids: list[Any], become: list[str]) -> None:
    """Ids are distinct and short enough for a reward; one that is missing is `tip-` and the item's index."""
    items = [{"content": "x"} | ({} if id_ is None else {"id": id_}) for id_ in ids]
    assert [tip.id for tip in read(json.dumps(items), 20)] == become


def test_at_most_n() -> None:
    """More items than asked for: the first ones; fewer: those there are."""
    assert [tip.id for tip in read(ARRAY, 1)] == ["a"]
    assert [tip.id for tip in read(ARRAY, 20)] == ["a", "b"]
