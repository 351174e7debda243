"""The chat client: what it sends, how it bounds an answer, and every way it can fail."""

import asyncio
import gc
import hashlib
import logging
import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace
from typing import Any

import httpx
import msgspec
import pytest

from app.precedence import Precedence
from app.settings import Secret
from app.tips.chat import ChatClient, connect
from app.tips.errors import LlmFailed, LlmNotConfigured, LlmUnavailable
from app.tips.prompts import Message
from tests.support.processes import free_port
from tests.support.standin import Asked, StandIn, completion, http, stand_in
from tests.support.waiting import PATIENCE_SECONDS, until_async

pytestmark = pytest.mark.anyio

KEY = "sk-0123456789-very-private"
HELLO = [Message("system", "Be brief."), Message("user", "Hi ☎")]


def client(url: str = "http://llm.test", key: str = KEY, **options: Any) -> ChatClient:
    options = {"max_concurrency": 4, "queue_seconds": 60.0, **options}
    return connect(url=url, key=Secret(key), **options)


def canned(status: int = 200, body: bytes = b"", headers: dict[str, str] | None = None, **options: Any) -> ChatClient:
    """A client whose every call is answered with this, without a network."""
    transport = httpx.MockTransport(lambda _: httpx.Response(status, content=body, headers=headers))
    return client(transport=transport, **options)


@asynccontextmanager
async def asking(
    answer: Callable[[StandIn, Asked], bytes], **options: Any
) -> AsyncIterator[tuple[StandIn, ChatClient]]:
    """A stand-in that answers at once, and a client for it."""

    async def at_once(asked: Asked) -> bytes:
        return answer(server, asked)

    async with stand_in(at_once) as server, client(server.url, **options) as llm:
        yield server, llm


async def test_request_and_reply() -> None:
    """One POST to /chat/completions with model, temperature, messages and the key; text, model and tokens come back."""
    async with asking(lambda *_: http(completion("hello", tokens=(7, 3)))) as (server, llm):
        reply = await llm.chat(HELLO)
    assert (reply.content, reply.model, reply.prompt_tokens, reply.completion_tokens) == ("hello", "gpt-stand-in", 7, 3)
    (asked,) = server.asked
    assert asked.line == "POST /chat/completions HTTP/1.1"
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert asked.headers["content-type"] == "application/json"
    assert asked.body == {
        "model": "tip-generator",
        "temperature": 0.7,
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi ☎"}],
    }


async def test_cookies_are_not_kept() -> None:
    """A cookie from one user's answer is not sent with the next user's call."""
    answer = http(completion("hello"), headers="Set-Cookie: session=ann; Path=/")
    async with asking(lambda *_: answer) as (server, llm):
        for _ in range(2):
            await llm.chat(HELLO)
    assert ["cookie" in asked.headers for asked in server.asked] == [False, False]


async def test_one_connection_for_many_calls() -> None:
    """Calls that follow each other share a connection, and a path in LITELLM_URL is kept."""
    async with asking(lambda *_: http(completion("hello"))) as (server, _):
        async with client(f"{server.url}/proxy/v1/") as llm:
            for _ in range(3):
                await llm.chat(HELLO)
        assert server.connections == 1
        assert server.asked[0].line == "POST /proxy/v1/chat/completions HTTP/1.1"


async def test_no_completion() -> None:
    """A 200 that is not a chat completion is a failure with the start of what came instead."""
    async with canned(body=b"<html>\n" + b"x" * 1_000) as llm:
        with pytest.raises(LlmFailed, match="the LLM proxy answered with something that is not a chat") as caught:
            await llm.chat(HELLO)
    assert caught.value.detail.endswith(": <html> " + "x" * 193)


@pytest.mark.parametrize("status", [300, 307, 400, 401, 403, 404, 500, 502, 503, 504])
async def test_error_status(status: int) -> None:
    """An error status, redirects included, is a failure with the proxy's own message."""
    body = b'{"error": {"message": "model\\nnot found", "type": "x", "code": "404"}}'
    async with canned(status, body, {"Location": "http://elsewhere.test", "Retry-After": "5"}) as llm:
        with pytest.raises(LlmFailed, match=f"answered {status}: model not found$"):
            await llm.chat(HELLO)


async def test_long_error_body() -> None:
    """An error's body is quoted, 200 characters at most."""
    async with canned(500, b"x " * 1_000_000) as llm:
        with pytest.raises(LlmFailed) as caught:
            await llm.chat(HELLO)
    assert caught.value.detail == "the LLM proxy answered 500: " + "x " * 100


@pytest.mark.parametrize("status", [200, 401, 429])
@pytest.mark.parametrize("before", ["", "x" * 190])
async def test_key_is_never_repeated(status: int, before: str, caplog: pytest.LogCaptureFixture) -> None:
    """The proxy may repeat the key, part of it or its hash; no error and no log line shows any of them."""
    caplog.set_level(logging.DEBUG)
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    message = f"{before}Bad key {KEY}, Received API Key = sk-...{KEY[-4:]}, Key Hash = {digest}"
    async with canned(status, msgspec.json.encode({"error": {"message": message}})) as llm:
        with pytest.raises((LlmFailed, LlmUnavailable)) as caught:
            await llm.chat(HELLO)
        shown = [str(caught.value), repr(caught.value), repr(llm), str(vars(llm)), llm.quote(message), caplog.text]
    for text in shown:
        assert KEY[:9] not in text
        assert KEY[-4:] not in text
        assert digest[:8] not in text
    assert KEY not in repr(llm._key)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("12.5", 12.5),
        ("0.2", 0.2),
        ("3.", 3.0),
        ("1e3", None),
        (".5", None),
        ("nan", None),
        ("inf", None),
        ("9" * 30, 86_400.0),
        ("-5", None),
        ("soon", None),
        ("²", None),
        ("", None),
        ("9" * 400, 86_400.0),
        ("9" * 5_000, 86_400.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Wed, 21 Oct 2165 07:28:00 GMT", 86_400.0),
    ],
)
async def test_over_the_limit(header: str, seconds: float | None) -> None:
    """429 is passed on as unavailable with its Retry-After in seconds, between now and a day."""
    async with canned(429, b'{"error": {"message": "slow down"}}', {"Retry-After": header.encode()}) as llm:  # type: ignore[dict-item]
        with pytest.raises(LlmUnavailable, match="over its limit: slow down") as caught:
            await llm.chat(HELLO)
    assert caught.value.retry_after == seconds


async def test_retry_after_as_a_date(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Retry-After that is a date counts from now."""
    now = datetime(2026, 2, 28, 23, 59, 59, tzinfo=UTC)
    monkeypatch.setattr("app.tips.chat.time", SimpleNamespace(time=now.timestamp))
    then = format_datetime(now + timedelta(seconds=100), usegmt=True)
    async with canned(429, b"", {"Retry-After": then}) as llm:
        with pytest.raises(LlmUnavailable) as caught:
            await llm.chat(HELLO)
    assert caught.value.retry_after == 100


async def test_no_key() -> None:
    """Without a key nothing is asked, and the error names the variable."""
    async with asking(lambda *_: http(completion("x")), key="  ") as (server, llm):
        with pytest.raises(LlmNotConfigured, match="LITELLM_MASTER_KEY is not set"):
            await llm.chat(HELLO)
    assert server.connections == 0


async def test_key_with_line_end() -> None:
    """A key read from a file with a line end at its end is sent without it."""
    async with asking(lambda *_: http(completion("x")), key=f"{KEY}\n") as (server, llm):
        await llm.chat(HELLO)
    assert server.asked[0].headers["authorization"] == f"Bearer {KEY}"


async def test_refused() -> None:
    """The connection is refused: unavailable."""
    async with client(f"http://127.0.0.1:{free_port()}") as llm:
        with pytest.raises(LlmUnavailable, match="cannot be reached"):
            await llm.chat(HELLO)


async def test_unknown_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host has no address: unavailable."""

    # A name server that is away would be asked for longer than a connection may take.
    async def no_address(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", no_address)
    async with client("http://no-such-host.invalid") as llm:
        with pytest.raises(LlmUnavailable, match="cannot be reached"):
            await llm.chat(HELLO)


async def test_too_slow() -> None:
    """No answer in time, counted over the whole call: unavailable, and the connection is given up."""

    async def never(_: Asked) -> bytes:
        await asyncio.Event().wait()
        return b""

    async def was_asked() -> bool:
        """Not if the time was over before the request was sent."""
        with pytest.raises(LlmUnavailable, match="did not answer in time"):
            await llm.chat(HELLO)
        return bool(server.asked)

    async with stand_in(never) as server, client(server.url, timeout_seconds=0.2) as llm:
        await until_async(was_asked, "asked in vain")
        await asyncio.wait_for(server.left.wait(), 60)


async def test_time_out_counts_the_whole_call() -> None:
    """An answer that trickles in does not outlive the time-out."""

    async def trickle() -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(0.01)
            yield b" "

    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=trickle()))
    async with client(transport=transport, timeout_seconds=0.1) as llm:
        with pytest.raises(LlmUnavailable, match="did not answer in time"):
            await asyncio.wait_for(llm.chat(HELLO), 60)


async def test_nothing_is_left_to_the_collector() -> None:
    """A call leaves no cycles behind: a collection would delay every other request."""
    async with asking(lambda *_: http(completion("x"))) as (_, llm):
        await llm.chat(HELLO)
        left = []
        gc.disable()
        gc.freeze()  # what other tests have left is not looked at
        try:
            for _ in range(3):  # what the client keeps may turn up once, what a call leaves each time
                gc.collect()
                for _ in range(20):
                    await llm.chat(HELLO)
                left.append(gc.collect())
        finally:
            gc.unfreeze()
            gc.enable()
    assert min(left) < 20


async def test_broken_connection_is_tried_once_more() -> None:
    """A connection that closes before an answer begins is not a failure: the call is repeated."""
    answers = [http(completion("first")), b"", http(completion("second"))]
    async with asking(lambda server, _: answers[len(server.asked) - 1]) as (server, llm):
        assert (await llm.chat(HELLO)).content == "first"
        assert (await llm.chat(HELLO)).content == "second"
    assert len(server.asked) == 3


async def test_broken_twice() -> None:
    """A call is repeated once."""
    async with asking(lambda *_: b"") as (server, llm):
        with pytest.raises(LlmUnavailable, match="cannot be reached"):
            await llm.chat(HELLO)
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("said", "times"),
    [
        (b"", 2),
        (b"HTTP/1.1 200 OK\r\nContent-Le", 2),
        (b"SSH-2.0-x\r\n\r\n", 2),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", 1),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{", 1),
    ],
)
async def test_broken_in_an_answer(said: bytes, times: int) -> None:
    """Once the head of the answer is complete, a call is not repeated: the model was paid for."""
    calls = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        calls += 1
        head = await reader.readuntil(b"\r\n\r\n")
        # All of it: to close with something unread resets the connection, which may overtake what was said.
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        assert length is not None
        await reader.readexactly(int(length[1]))
        writer.write(said)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with client(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as llm:
        with pytest.raises(LlmUnavailable, match="cannot be reached"):
            await llm.chat(HELLO)
    server.close()
    assert calls == times


async def test_too_long() -> None:
    """An answer over 2 MiB is not read to its end; one just below is."""
    body = completion("x" * (2**21 - 1000))
    async with asking(lambda *_: http(body)) as (_, llm):
        assert len((await llm.chat(HELLO)).content) == 2**21 - 1000

    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 1
            yield b" " * 65_536

    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=endless()))
    async with client(transport=transport) as llm:
        with pytest.raises(LlmFailed, match="longer than 2097152 bytes"):
            await llm.chat(HELLO)
    assert read == 33


async def test_garbled_encoding() -> None:
    """An answer that is not compressed as its header says is a failure."""
    raw = http(b"not gzip", headers="Content-Encoding: gzip")
    async with asking(lambda *_: raw) as (_, llm):
        with pytest.raises(LlmFailed, match="cannot be decoded"):
            await llm.chat(HELLO)


async def test_cancelled_calls_give_back_their_turn() -> None:
    """Calls cancelled in the queue or in flight close their connections and leave room for others."""
    go = asyncio.Event()

    async def wait(_: Asked) -> bytes:
        await go.wait()
        return http(completion("x"))

    async def two_at_once() -> bool:
        return server.at_once == 2

    async def none_at_once() -> bool:
        return server.at_once == 0

    async with stand_in(wait) as server, client(server.url, max_concurrency=2) as llm:
        for _ in range(5):
            server.left.clear()
            calls = [asyncio.ensure_future(llm.chat(HELLO)) for _ in range(4)]
            await until_async(two_at_once, "two calls in flight")
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            await asyncio.wait_for(server.left.wait(), 60)
            await until_async(none_at_once, "no call in flight")
        go.set()
        replies = await asyncio.gather(*(llm.chat(HELLO) for _ in range(4)))
        assert [reply.content for reply in replies] == ["x"] * 4
        # Two in each round, at most two for the calls that were not cancelled: cancelled ones leave none behind.
        assert server.connections <= 12


async def test_environment_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a proxy nor a .netrc from the environment is used: the key goes to LITELLM_URL only."""
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{free_port()}")
    async with asking(lambda *_: http(completion("x"))) as (_, llm):
        assert (await llm.chat(HELLO)).content == "x"


async def test_call_gives_way() -> None:
    """No call to the language model is sent while a decision is in hand."""
    precedence = Precedence(longest_seconds=PATIENCE_SECONDS)
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, content=completion("hello"))

    async with client(transport=httpx.MockTransport(answer), precedence=precedence) as llm:
        with precedence:
            calling = asyncio.create_task(llm.chat(HELLO))
            for _ in range(50):
                await asyncio.sleep(0)
            assert not asked
        assert (await calling).content == "hello"
