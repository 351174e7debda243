"""Generating tips: the conversation with the model, corrections, and what it cost."""

import json
import logging
from typing import Any

import httpx
import msgspec
import pytest

from app.settings import Secret
from app.tips import prompts
from app.tips.chat import connect
from app.tips.errors import LlmFailed, LlmNotConfigured, LlmUnavailable
from app.tips.generate import Generated, generate
from app.tips.prompts import UnknownPrompt
from tests.support.standin import completion

pytestmark = pytest.mark.anyio

ITEMS = [{"id": "a", "content": "Walk.", "rationale": "Sun."}, {"id": "b", "content": "Rest."}]
ARRAY = json.dumps(ITEMS)
KEY = "sk-0123456789-very-secret"


class Model:
    """A language model that says these replies in turn, the last one again and again, and keeps what it was asked."""

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
            return await generate(client, prompts.load("v1"), **{"n": 3, **wanted})


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


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "it holds no JSON array"),
        ('{"tips": []}', "it is an object, not an array"),
        (ARRAY[:-1], "its JSON is malformed or cut off"),
        ("tip " * 2**18, "it holds no JSON array"),
    ],
    ids=lambda value: value[:20],
)
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
    """A reply that was cut short fails at once, in a correction too: asking again would end the same way."""
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
    """A complete array counts, whatever ended the reply after it."""
    assert (await Model(stopped(f"{ARRAY} I chose", reason)).generate()).tries == 1


@pytest.mark.parametrize("reason", [None, "stop", "tool_calls", 7, ["length"]])
async def test_other_reasons_to_end(reason: object) -> None:
    """With any other reason, a reply that cannot be read is corrected."""
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
