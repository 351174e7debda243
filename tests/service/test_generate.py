"""POST /generate and GET /prompts over HTTP, against the running service and a stand-in for the proxy."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import islice
from typing import Any

import httpx
import msgspec
import pytest

from app.main import create_app
from app.settings import Secret, Settings, SettingsError
from app.tips.chat import connect
from tests.support.processes import Server, free_port
from tests.support.service import service
from tests.support.standin import Asked, StandIn, completion, http, stand_in
from tests.support.waiting import until_async

pytestmark = pytest.mark.anyio

KEY = "sk-0123456789-very-secret"
ITEMS = [{"id": "a", "content": "Walk.", "rationale": "Sun."}, {"content": "Rest."}, {"id": "a", "content": "Eat."}]
ARRAY = json.dumps(ITEMS)
ASKED = {"user_id": "ada"}


class Running(msgspec.Struct):
    """The service with the proxy it asks, and a client for it."""

    server: Server
    llm: StandIn
    http: httpx.AsyncClient

    async def generate(self, **fields: Any) -> httpx.Response:
        return await self.http.post("/generate", json=ASKED | fields)

    def says(self, *replies: str | bytes | None) -> None:
        """The model gives these replies in turn, the last one again and again; bytes are a whole response."""
        self.llm.asked.clear()

        async def answer(_: Asked) -> bytes:
            reply = replies[min(len(self.llm.asked), len(replies)) - 1]
            return reply if isinstance(reply, bytes) else http(completion(reply))

        self.llm.answer = answer


@asynccontextmanager
async def running(**settings: str) -> AsyncIterator[Running]:
    async def nothing(_: Asked) -> bytes:
        return b""

    async with stand_in(nothing) as llm:
        environ = {"LITELLM_URL": llm.url, "LITELLM_MASTER_KEY": KEY, "DRAIN_SECONDS": "0"} | settings
        with service(environ) as server:
            # A connection for each request: one that is kept for 5 s is closed just when a busy machine uses it again.
            limits = httpx.Limits(max_keepalive_connections=0)
            async with httpx.AsyncClient(base_url=server.url, timeout=60, limits=limits) as client:
                yield Running(server, llm, client)
                await asyncio.to_thread(server.stop)
                assert KEY not in server.log
                assert "Traceback" not in server.log


@pytest.fixture(scope="module")
async def one() -> AsyncIterator[Running]:
    """One running service for the tests that need nothing special of it."""
    async with running(LLM_MAX_CONCURRENCY="2", LLM_QUEUE_SECONDS="0.2") as made:
        yield made


async def test_generate(one: Running) -> None:
    """A request with nothing but a user is answered with candidates, model, version and tokens."""
    one.says(f"Here:\n```JSON\n{ARRAY}\n```")
    response = await one.generate()
    assert response.status_code == 200
    assert response.json() == {
        "candidates": [
            {"id": "a", "content": "Walk.", "source": "llm", "rationale": "Sun."},
            {"id": "tip-1", "content": "Rest.", "source": "llm", "rationale": None},
            {"id": "a-2", "content": "Eat.", "source": "llm", "rationale": None},
        ],
        "model": "gpt-stand-in",
        "prompt_version": "v1",
        "prompt_tokens": 10,
        "completion_tokens": 5,
    }


async def test_whole_request(one: Running) -> None:
    """Tasks, hour, weekday, extra and `n` reach the model, the profile does not; `n` bounds the answer."""
    one.says(ARRAY)
    context = {"tasks": [{"title": "T-1"}], "hour_of_day": "23", "day_of_week": 6.0, "extra": {"mood": "E-1"}}
    response = await one.generate(context=context, n=2, prompt_version="v2", profile_features={"secret": "P-1"}, more=1)
    assert response.status_code == 200
    assert [tip["id"] for tip in response.json()["candidates"]] == ["a", "tip-1"]
    assert response.json()["prompt_version"] == "v2"
    told = one.llm.asked[0].body["messages"][1]["content"]
    assert all(text in told for text in ("T-1", "E-1", "Sunday", "23:00", "exactly 2 tips"))
    assert "P-1" not in json.dumps(one.llm.asked[0].body)
    assert "ada" not in json.dumps(one.llm.asked[0].body)


async def test_correction(one: Running) -> None:
    """Tokens of a corrected reply add up."""
    one.says("nothing", ARRAY)
    response = await one.generate()
    assert (response.status_code, response.json()["prompt_tokens"], response.json()["completion_tokens"]) == (
        200,
        20,
        10,
    )


@pytest.mark.parametrize(
    "reply",
    ["", "no", '{"tips": []}', '"[]"', "[]", "[1]", '[{"id": "a"}]', ARRAY[:-1], None, "<html>", "x" * 2**20],
    ids=lambda reply: repr(reply)[:20],
)
async def test_never_good(one: Running, reply: str | None) -> None:
    """Three unusable replies: 502 with what was wrong and how the last one began."""
    one.says(reply)
    response = await one.generate()
    assert response.status_code == 502
    assert response.json()["detail"].startswith("no usable tips in 3 tries: ")
    assert response.json()["detail"].endswith((reply or "(empty)")[:200])
    assert len(one.llm.asked) == 3


@pytest.mark.parametrize(
    ("raw", "status", "says"),
    [
        (http(b'{"choices": []}'), 502, "no usable tips in 3 tries"),
        (http(b"<html>"), 502, "not a chat completion"),
        (http(b"{" * 99), 502, "not a chat completion"),
        (
            http(b'{"error": "key ' + KEY.encode() + b' is bad"}', "401 Unauthorized"),
            502,
            "key *** is bad",
        ),
        (http(b"oops", "500 Internal Server Error"), 502, "answered 500: oops"),
        (http(b"", "503 Service Unavailable"), 502, "answered 503"),
        (http(b"", "307 Temporary Redirect", "Location: http://127.0.0.1/"), 502, "answered 307"),
        (b"", 503, "cannot be reached"),
        (b"garbage\r\n\r\n", 503, "cannot be reached"),
    ],
    ids=lambda value: repr(value)[:20],
)
async def test_proxy_failures(one: Running, raw: bytes, status: int, says: str) -> None:
    """A failure of the proxy is a 502 or 503 with its reason, never a 500, and never shows the key."""
    one.says(raw)
    response = await one.generate()
    assert response.status_code == status
    assert says in response.json()["detail"]
    assert KEY not in response.text
    assert ("retry-after" in response.headers) == (status == 503)


@pytest.mark.parametrize(("header", "answered"), [("17", "17"), ("12.5", "13"), ("0.01", "1")])
async def test_retry_after(one: Running, header: str, answered: str) -> None:
    """429 with Retry-After becomes 503 with the same Retry-After, in whole seconds that are not too early."""
    one.says(http(b'{"error": {"message": "slow down"}}', "429 Too Many Requests", f"Retry-After: {header}"))
    response = await one.generate()
    assert (response.status_code, response.headers["retry-after"]) == (503, answered)
    assert "slow down" in response.json()["detail"]


async def test_half_an_emoji(one: Running) -> None:
    """A task's title, and a tip, that were cut in the middle of an emoji are read with U+FFFD in their place."""
    one.says(r'[{"id": "a", "content": "Pay \ud83d"}]')
    body = rb'{"user_id": "ada", "context": {"tasks": [{"title": "Rent \ud83d"}]}, '
    body += rb'"profile_features": {"x": NaN}, "y\ude00": 1}'
    response = await one.http.post("/generate", content=b"\xef\xbb\xbf" + body)
    assert response.status_code == 200, response.text
    assert response.json()["candidates"][0]["content"] == "Pay \ufffd"
    assert "Rent \ufffd" in one.llm.asked[0].body["messages"][1]["content"]


async def test_parts_and_refusals(one: Running) -> None:
    """A reply in parts is read; one that was cut off or refused is answered 502 at the first call."""
    parts = [{"type": "thinking", "thinking": "Hm"}, {"type": "text", "text": ARRAY}]
    one.says(http(msgspec.json.encode({"choices": [{"message": {"content": parts}}]})))
    assert (await one.generate()).status_code == 200
    one.says(http(msgspec.json.encode({"choices": [{"finish_reason": "length", "message": {"content": ARRAY[:-5]}}]})))
    response = await one.generate()
    assert (response.status_code, len(one.llm.asked)) == (502, 1)
    assert "cut off at the token limit" in response.json()["detail"]


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 0},
        {"n": 21},
        {"n": "x"},
        {"user_id": ""},
        {"user_id": None},
        {"context": {"hour_of_day": 24}},
        {"context": {"day_of_week": 7}},
        {"context": {"tasks": [1]}},
        {"context": {"tasks": {}}},
        {"context": {"extra": []}},
        {"context": []},
        {"prompt_version": "v99"},
        {"prompt_version": "../v1"},
        {"prompt_version": 1},
    ],
    ids=repr,
)
async def test_bad_requests(one: Running, fields: dict[str, Any]) -> None:
    """A value out of range or an unknown prompt is a 422, and the model is not asked."""
    one.says(ARRAY)
    response = await one.generate(**fields)
    assert response.status_code == 422
    assert response.json()["detail"]
    assert one.llm.asked == []


async def test_prompts(one: Running) -> None:
    """GET /prompts lists the versions and the default, and each listed version works."""
    one.says(ARRAY)
    listed = (await one.http.get("/prompts")).json()
    assert listed["default"] == "v1"
    assert {"v1", "v2"} <= set(listed["versions"])
    for version in listed["versions"]:
        assert (await one.generate(prompt_version=version)).json()["prompt_version"] == version


async def test_too_many(one: Running) -> None:
    """Calls whose turn does not come in time are 503; the rest of the service answers meanwhile."""
    go = asyncio.Event()

    async def wait(_: Asked) -> bytes:
        await go.wait()
        return http(completion(ARRAY))

    one.llm.answer = wait
    calls = [asyncio.ensure_future(one.generate()) for _ in range(5)]
    # All three of them: one that still waited would get the turn of a call that is answered.
    refused = [await call for call in islice(asyncio.as_completed(calls), 3)]
    assert {response.status_code for response in refused} == {503}
    assert (await one.http.get("/prompts")).status_code == 200
    go.set()
    assert sorted(response.status_code for response in await asyncio.gather(*calls)) == [200, 200, 503, 503, 503]
    assert one.llm.most_at_once <= 2


async def test_client_goes_away(one: Running) -> None:
    """A client that hangs up cancels its call: the proxy sees the connection close, and the turn is free again."""

    async def never(_: Asked) -> bytes:
        await asyncio.Event().wait()
        return b""

    async def none_at_once() -> bool:
        return one.llm.at_once == 0

    for _ in range(3):
        one.llm.answer = never
        one.llm.left.clear()
        _, writer = await asyncio.open_connection("127.0.0.1", one.server.port)
        body = msgspec.json.encode(ASKED)
        writer.write(b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        one.llm.asked.clear()

        async def was_asked() -> bool:
            return bool(one.llm.asked)

        await until_async(was_asked, "the model asked")
        assert not one.llm.left.is_set()
        writer.close()
        await writer.wait_closed()
        await asyncio.wait_for(one.llm.left.wait(), 60)
        await until_async(none_at_once, "no call in flight")
    one.says(ARRAY)
    assert (await one.generate()).status_code == 200


async def test_connections_are_reused(one: Running) -> None:
    """Requests that follow each other share one connection to the proxy."""
    one.says(ARRAY)

    async def shared() -> bool:
        """Not if one of them came so late that the connection had been closed, as idle ones are after 5 s."""
        before = one.llm.connections
        for _ in range(6):
            await one.generate()
        return one.llm.connections <= before + 1

    await until_async(shared, "one connection for all")


async def test_without_key() -> None:
    """Without a key /generate is 503 naming the variable, and everything else works."""
    async with running(LITELLM_MASTER_KEY="") as made:
        response = await made.generate()
        assert (response.status_code, "LITELLM_MASTER_KEY" in response.json()["detail"]) == (503, True)
        assert (await made.generate(prompt_version="v99")).status_code == 422
        assert (await made.http.get("/prompts")).status_code == 200
        score = {"user_id": "ada", "candidates": [{"id": "a", "content": "x", "source": "s"}]}
        assert (await made.http.post("/score", json=score)).status_code == 200
        assert made.llm.connections == 0


async def test_not_reachable_and_default_version() -> None:
    """A proxy that is not reachable is a 503 with Retry-After. DEFAULT_PROMPT_VERSION is what /prompts says."""
    async with running(LITELLM_URL=f"http://127.0.0.1:{free_port()}", DEFAULT_PROMPT_VERSION="v2") as made:
        response = await made.generate()
        assert (response.status_code, "retry-after" in response.headers) == (503, True)
        assert (await made.http.get("/prompts")).json()["default"] == "v2"


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (
            Settings(default_prompt_version="v0"),
            "DEFAULT_PROMPT_VERSION: unknown prompt version 'v0', there are v1",
        ),
        (Settings(litellm_url="localhost:4000"), "LITELLM_URL: takes http://host:port or https://host:port"),
        (Settings(litellm_master_key=Secret("a\nb")), "LITELLM_MASTER_KEY: takes printable ASCII"),
    ],
)
def test_bad_settings(settings: Settings, line: str) -> None:
    """A setting that cannot work stops the start with one line that names it."""
    with pytest.raises(SettingsError) as caught:
        create_app(settings)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


def test_key_is_in_no_repr() -> None:
    """Neither the settings nor the client show the key."""
    client = connect(url="http://x", key=Secret(KEY), max_concurrency=1, queue_seconds=1)
    assert KEY not in repr(client)
    assert KEY not in repr(Settings(litellm_master_key=Secret(KEY)))
