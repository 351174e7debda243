"""Generating tips: replies of every shape, corrections, ids, and what it cost."""

import json
import logging
import time
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.settings import Secret
from app.tips import generate as tips
from app.tips import prompts
from app.tips.chat import connect
from app.tips.errors import LlmFailed, LlmNotConfigured, LlmUnavailable
from app.tips.generate import Generated
from app.tips.prompts import UnknownPrompt
from app.tips.reply import BadReply, Tip, read
from tests.support.standin import completion

ITEMS = [{"id": "a", "content": "Walk.", "rationale": "Sun."}, {"id": "b", "content": "Rest."}]
ARRAY = json.dumps(ITEMS)
KEY = "sk-0123456789-very-secret"

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
    "thought before": f"<think>They want [tips]. {{maybe}}</think>{ARRAY}",
    "draft in a thought": f'\n<think>\nPerhaps [{{"content": "draft"}}]\n</think> <think>{ARRAY[:9]}</think>\n{ARRAY}',
    "draft before": f'[{{"content": "draft"}}], or rather {ARRAY}',
    "thinking": f'<thinking>maybe [{{"content": "bad"}}]</thinking>{ARRAY}',
    "Reasoning with an attribute": f'<Reasoning effort="high">[{{"content": "bad"}}]</REASONING>\n{ARRAY}',
    "thought after": f'{ARRAY}<reflection>or [{{"content": "bad"}}]?</reflection>',
    "unknown tag": f'<ponder>[{{"content": "bad"}}]</ponder>{ARRAY}<musing>[{{"content": "bad"}}]</musing>',
    "thought that was never opened": f'[{{"content": "bad"}}]</think>{ARRAY}',
    "thoughts one in another": f'<think><think>a</think>[{{"content": "bad"}}]</think>{ARRAY}',
    "thought with another end": f'<think>[{{"content": "bad"}}]</thinking>{ARRAY}',
    "end of a thought in a text": f'<think>"</think>" [{{"content": "bad"}}]</think>{ARRAY}',
    "channels": f'<|channel|>analysis<|message|>[{{"content": "bad"}}]<|end|><|start|>assistant<|channel|>final'
    f"<|message|>{ARRAY}<|return|>",
    "channel without end": f'<|channel|>analysis<|message|>[{{"content": "bad"}}]<|channel|>final {ARRAY}',
    "channel after": f'{ARRAY}<|channel|>commentary<|message|>[{{"content": "bad"}}]',
    "THINK in brackets": f'[THINK][{{"content": "bad"}}][/THINK]{ARRAY}',
    "thought in tokens": f'<|begin_of_thought|>[{{"content": "bad"}}]<|end_of_thought|>{ARRAY}',
    "THINKING in tokens": f'<|START_THINKING|>[{{"content": "bad"}}]<|END_THINKING|><|START_RESPONSE|>{ARRAY}',
    "triangles": f'◁think▷[{{"content": "bad"}}]◁/think▷{ARRAY}',
    "answer in a tag": f'<think>[{{"content": "bad"}}]</think><answer>\n```json\n{ARRAY}\n```\n</answer>',
    "HTML": f"<p>Here:<br></p><pre><code>{ARRAY}</code></pre>",
    "tag that is not closed": f"Tips for <user>: {ARRAY}",
    "tag that closes nothing": f"Tips</user>: {ARRAY}",
    "less than": f"1 < 2, a<b, <3 <| {ARRAY} x>y",
    "letter that grows in lower case": f'{"İ" * 9}<Ponder>[{{"content": "bad"}}]</PONDER>{ARRAY}',
    "byte order mark": f"\ufeff{ARRAY}",
}


@pytest.mark.parametrize("text", GOOD.values(), ids=GOOD.keys())
def test_good_replies(text: str) -> None:
    """A JSON array is found bare, in a fence of any kind, and with text around it."""
    found = [(tip.id, tip.content, tip.rationale) for tip in read(text, 3)]
    assert found == [("a", "Walk.", "Sun."), ("b", "Rest.", None)]


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
    """What stands in the texts, fences and brackets too, is theirs and comes out unchanged."""
    text = json.dumps([{"content": content, "rationale": content}])
    for around in (text, f"```json\n{text}\n```", f"Here: {text} ok"):
        (tip,) = read(around, 3)
        assert (tip.content, tip.rationale) == (content, content)


MALFORMED = "malformed or cut off"
BAD = {
    "empty": ("", "holds no JSON array"),
    "refusal": ("I'm sorry, but I can't help with that.", "holds no JSON array"),
    "thoughts only": (f"<think>Perhaps {ARRAY}</think> I cannot.", "holds no JSON array"),
    "thoughts without end": (f"<think>Perhaps {ARRAY}", "holds no JSON array"),
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
    "draft in an unknown tag": (f"<ponder>{ARRAY}</ponder> I cannot.", "outside of its thoughts"),
    "draft before the end of thoughts": (f"{ARRAY}</think> I cannot.", "outside of its thoughts"),
    "channel of thoughts": (f"<|channel|>analysis<|message|>{ARRAY}<|end|>", "outside of its thoughts"),
    "object after thoughts": (f"<think>{ARRAY}</think>{{}}", "an object, not an array"),
    "answer within thoughts": (f"<think><answer>{ARRAY}</answer></think>", "outside of its thoughts"),
    "HTML": ("<!DOCTYPE html><html><body><h1>502 Bad Gateway</h1></body></html>", "holds no JSON array"),
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
    "thoughts": "<think> </think>" * (MIB // 16),
    "thoughts in thoughts": "<think>" * (MIB // 7),
    "backslashes": '["' + "\\" * MIB,
    "tags": "".join(f"<t{number}>" for number in range(MIB // 9)),
    "tags without end": "".join(f"<t{number}>" for number in range(MIB // 18)) + "</t" * (MIB // 6),
    "tags with long attributes": ("<t " + "x" * 290) * (MIB // 293),
    "ends of thoughts": "</think>" * (MIB // 8),
    "less than": "<" * MIB,
    "tokens": "<|" * (MIB // 2),
    "channels": "<|channel|>" * (MIB // 11),
    "names": "<" + "t" * MIB,
}


@pytest.mark.parametrize("text", RUNAWAY.values(), ids=RUNAWAY.keys())
def test_runaway_replies(text: str) -> None:
    """A mebibyte of brackets, quotes or digits is refused in a time that other requests do not notice for long."""
    started = time.process_time()
    with pytest.raises(BadReply):
        read(text, 3)
    # It takes 0.03 s. Were the reading not bounded, or quadratic, it would be minutes.
    assert time.process_time() - started < 10


def test_long_reply_is_read() -> None:
    """A long reply is no bad reply: text, array, text."""
    items = [{"content": "x" * 1000}] * 500
    text = f"{'word ' * 50_000}{json.dumps(items)}{' word' * 50_000}"
    assert [tip.id for tip in read(text, 20)] == [f"tip-{index}" for index in range(20)]


@given(st.text() | st.text(alphabet='[]{}",:\\1tx \n`'))
def test_any_text(text: str) -> None:
    """Whatever the text, it is read or refused, never anything else; what is read has text and distinct ids."""
    try:
        found = read(text, 5)
    except BadReply:
        return
    assert 1 <= len(found) <= 5
    assert all(tip.content.strip() for tip in found)
    assert len({tip.id for tip in found}) == len(found)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(
    st.lists(
        st.dictionaries(st.text(), JSON).flatmap(
            lambda more: st.fixed_dictionaries({"content": st.just("x"), "id": JSON, "rationale": JSON}).map(
                lambda item: more | item
            )
        ),
        min_size=1,
        max_size=6,
    ),
    st.text(alphabet="abc\n`.:!"),
)
def test_any_items(items: list[dict[str, Any]], around: str) -> None:
    """Objects with text in `content` are tips whatever else is in them, within any text without brackets."""
    found = read(around + json.dumps(items) + around, 6)
    assert len(found) == len(items)
    assert len({tip.id for tip in found}) == len(found)
    assert all(1 <= len(tip.id) <= 256 for tip in found)
    for tip, item in zip(found, items, strict=True):
        assert tip.rationale == (item["rationale"] if isinstance(item["rationale"], str) else None) or not tip.rationale


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["think", "Thinking", "reasoning", "ponder", "x-y:z", "T1"]),
            st.text(alphabet='ab []{}",:\\n`') | st.sampled_from([ARRAY, ARRAY[:-5], "<b>", "<think>", "{}"]),
        ),
        max_size=4,
    ),
    st.text(alphabet="abc\n`.:!<>"),
)
def test_any_thoughts(thoughts: list[tuple[str, str]], between: str) -> None:
    """Whatever stands in tags before the answer and after it, the answer is read."""
    tagged = "".join(f"<{name}>{text}</{name}>{between}" for name, text in thoughts)
    (tip,) = read(f'{tagged}[{{"content": "the answer"}}]{tagged}', 3)
    assert tip.content == "the answer"


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


# The conversation


class Model:
    """A language model that says these replies in turn, the last one for ever, and remembers what it was asked."""

    def __init__(self, *replies: str | httpx.Response | None) -> None:
        self.replies = replies
        self.asked: list[dict[str, Any]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(msgspec.json.decode(request.content))
        reply = self.replies[min(len(self.asked), len(self.replies)) - 1]
        return reply if isinstance(reply, httpx.Response) else httpx.Response(200, content=completion(reply))

    async def generate(self, *, key: str = KEY, **wanted: Any) -> Generated:
        transport = httpx.MockTransport(self)
        async with connect(
            url="http://llm.test", key=Secret(key), max_concurrency=1, queue_seconds=1, transport=transport
        ) as client:
            return await tips.generate(client, prompts.load("v1"), **{"n": 3, **wanted})


pytestmark = pytest.mark.anyio


async def test_generate() -> None:
    """A good reply at once: the tips, the model, the version and the tokens."""
    model = Model(ARRAY)
    made = await model.generate(tasks=[{"title": "Call mum"}], prompt_version="v2", extra={"city": "Ulm"})
    assert [tip.content for tip in made.candidates] == ["Walk.", "Rest."]
    assert (made.model, made.prompt_version, made.tries) == ("gpt-stand-in", "v2", 1)
    assert (made.prompt_tokens, made.completion_tokens) == (10, 5)
    (asked,) = model.asked
    assert [message["role"] for message in asked["messages"]] == ["system", "user"]
    assert "Call mum" in asked["messages"][1]["content"]
    assert "Ulm" in asked["messages"][1]["content"]


async def test_correction() -> None:
    """A bad reply and what is wrong with it are appended and it is asked again; tokens add up over the tries."""
    model = Model("No array.", '["x"]', ARRAY)
    made = await model.generate()
    assert [tip.id for tip in made.candidates] == ["a", "b"]
    assert (made.tries, made.prompt_tokens, made.completion_tokens) == (3, 30, 15)
    first, second, third = (asked["messages"] for asked in model.asked)
    assert second[:2] == first
    assert third[:4] == second
    assert [message["role"] for message in third] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert [third[2]["content"], third[4]["content"]] == ["No array.", '["x"]']
    assert third[3]["content"].startswith("Your previous response was not valid JSON")
    assert "expected `object`, got `str` - at `$[0]`" in third[5]["content"]


@pytest.mark.parametrize(("text", "says"), BAD.values(), ids=BAD.keys())
async def test_never_good(text: str, says: str) -> None:
    """Three bad replies are a failure that says what was wrong and quotes the first 200 characters."""
    model = Model(text)
    with pytest.raises(LlmFailed, match="no usable tips in 3 tries") as caught:
        await model.generate()
    assert len(model.asked) == 3
    assert says in caught.value.detail
    assert caught.value.detail.endswith(f": {text[:200] or '(empty)'}")
    assert len(caught.value.detail) < 500
    # However long the reply, the conversation stays short.
    assert len(json.dumps(model.asked[-1])) < 60_000


async def test_null_content() -> None:
    """A message without content goes through the correction like any bad reply, and no turn is left empty."""
    model = Model(None, ARRAY)
    assert (await model.generate()).tries == 2
    assert all(message["content"] for message in model.asked[1]["messages"])


def stopped(content: object, reason: object = "stop", **message: object) -> httpx.Response:
    choice = {"finish_reason": reason, "message": {"role": "assistant", "content": content, **message}}
    return httpx.Response(200, json={"choices": [choice], "usage": {"prompt_tokens": 10, "completion_tokens": 5}})


STOPPED = {
    "cut off": (stopped(ARRAY[:-5], "length"), f"the reply was cut off at the token limit: {ARRAY[:-5]}"),
    "cut off in a thought": (stopped("<think>Hm", "length"), "the reply was cut off at the token limit: <think>Hm"),
    "cut off before any text": (stopped(None, "max_tokens"), "the reply was cut off at the token limit: (empty)"),
    "filtered": (stopped("", "content_filter"), "a content filter stopped the reply: (empty)"),
    "refusal": (stopped(None, refusal="I can't."), "the language model refused: I can't.: (empty)"),
    "refusal as a reason": (stopped("No.", "refusal"), "the language model refused: No."),
}


@pytest.mark.parametrize(("reply", "says"), STOPPED.values(), ids=STOPPED.keys())
async def test_stopped_replies_are_not_asked_for_again(reply: httpx.Response, says: str) -> None:
    """What would only be paid for once more is said at once; in a correction too."""
    model = Model(reply, ARRAY)
    with pytest.raises(LlmFailed) as caught:
        await model.generate()
    assert caught.value.detail == f"no usable tips in 1 try: {says}"
    assert len(model.asked) == 1
    model = Model("bad", reply, ARRAY)
    with pytest.raises(LlmFailed, match="no usable tips in 2 tries"):
        await model.generate()
    assert len(model.asked) == 2


@pytest.mark.parametrize("reason", ["length", "content_filter"])
async def test_stopped_after_the_answer(reason: str) -> None:
    """An array that is complete counts, whatever ended the reply after it."""
    assert (await Model(stopped(f"{ARRAY} I chose", reason)).generate()).tries == 1


@pytest.mark.parametrize("reason", [None, "stop", "tool_calls", 7, ["length"]])
async def test_other_reasons_to_end(reason: object) -> None:
    """Any other reason says nothing: a reply that cannot be read is corrected."""
    assert (await Model(stopped("bad", reason, refusal=""), ARRAY).generate()).tries == 2


async def test_no_choices() -> None:
    """A completion without choices goes through the correction like any bad reply."""
    model = Model(httpx.Response(200, json={"choices": [], "usage": {"prompt_tokens": 4}}), ARRAY)
    made = await model.generate()
    assert (made.tries, made.prompt_tokens, made.completion_tokens) == (2, 14, 5)


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (httpx.Response(500, text="oops"), LlmFailed),
        (httpx.Response(200, text="<html>"), LlmFailed),
        (httpx.Response(429, headers={"Retry-After": "3"}), LlmUnavailable),
    ],
)
async def test_errors_are_not_corrected(reply: httpx.Response, error: type[Exception]) -> None:
    """An error of the proxy ends it at once, in a correction too."""
    for replies in ([reply], ["bad", reply]):
        model = Model(*replies)
        with pytest.raises(error):
            await model.generate()
        assert len(model.asked) == len(replies)


async def test_refused_before_asking() -> None:
    """An unknown version and a missing key cost nothing; the version is looked at first."""
    model = Model(ARRAY)
    with pytest.raises(UnknownPrompt):
        await model.generate(prompt_version="v99", key="")
    with pytest.raises(LlmNotConfigured):
        await model.generate(key="")
    assert model.asked == []


async def test_log(caplog: pytest.LogCaptureFixture) -> None:
    """One line tells outcome, tries, tokens and time; neither tasks nor replies nor the key are in any."""
    caplog.set_level(logging.DEBUG)
    await Model("bad-reply", ARRAY).generate(tasks=[{"title": "task-title"}])
    with pytest.raises(LlmFailed):
        await Model("bad-reply").generate(tasks=[{"title": "task-title"}])
    ok, failed = (record for record in caplog.records if record.name == "oo.llm")
    assert "outcome=ok prompt=v1 tries=2 prompt_tokens=20 completion_tokens=10 ms=" in ok.getMessage()
    assert (ok.levelname, failed.levelname) == ("INFO", "WARNING")
    assert "outcome=LlmFailed prompt=v1 tries=3 prompt_tokens=30 completion_tokens=15 ms=" in failed.getMessage()
    for secret in (KEY, "task-title", "bad-reply", "Walk."):
        assert secret not in caplog.text
