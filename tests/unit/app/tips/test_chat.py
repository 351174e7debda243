"""The chat client: what it sends, how it reads an answer, and every way it can fail."""

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

from app.settings import Secret, SettingsError
from app.tips.chat import ChatClient, connect
from app.tips.errors import LlmFailed, LlmNotConfigured, LlmUnavailable
from app.tips.prompts import Message
from tests.support.processes import free_port
from tests.support.standin import Asked, StandIn, completion, http, stand_in
from tests.support.waiting import until_async

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


async def test_idle_connections_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many calls at once leave many connections; those that nobody used for a while are closed when a call begins."""
    together = asyncio.Event()

    async def answer(_: Asked) -> bytes:
        if server.at_once == 4:
            together.set()
        await together.wait()
        return http(completion("hello"))

    async def one_open() -> bool:
        return server.open == 1

    async with stand_in(answer) as server, client(server.url) as llm:
        await asyncio.gather(*(llm.chat(HELLO) for _ in range(4)))
        await llm.chat(HELLO)
        assert (server.connections, server.open) == (4, 4)
        monkeypatch.setattr("app.tips.transport.IDLE_SECONDS", 0.0)
        await llm.chat(HELLO)
        await until_async(one_open, "all closed but the one in use")
        assert server.connections == 5


async def test_cookies_are_not_kept() -> None:
    """What the proxy sets with one user's answer does not go with the next user's call."""
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


@pytest.mark.parametrize(
    ("body", "content", "tokens"),
    [
        ({"choices": [{"message": {"content": None}}]}, "", (0, 0)),
        ({"choices": []}, "", (0, 0)),
        ({"choices": None, "error": None}, "", (0, 0)),
        ({}, "", (0, 0)),
        ({"choices": [{}]}, "", (0, 0)),
        ({"choices": [{"message": {"content": [{"type": "text", "text": "[1]"}]}}]}, "[1]", (0, 0)),
        (
            {
                "choices": [
                    {
                        "message": {
                            "content": [
                                {"type": "thinking", "thinking": [{"type": "text", "text": "no"}], "text": "no"},
                                {"type": "text", "text": "["},
                                {"type": "text", "text": None},
                                {"type": "image_url", "image_url": {"url": "x"}},
                                {"text": "no"},
                                "no",
                                None,
                                {"type": "output_text", "text": "1]"},
                            ]
                        }
                    }
                ]
            },
            "[1]",
            (0, 0),
        ),
        ({"choices": [{"message": {"content": []}}]}, "", (0, 0)),
        ({"choices": [{"message": {"content": "x"}}], "usage": None}, "x", (0, 0)),
        ({"choices": [{"message": {"content": "x"}}], "usage": [1]}, "x", (0, 0)),
        (
            {"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": 4, "completion_tokens": None}},
            "x",
            (4, 0),
        ),
        (
            {"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": -4, "completion_tokens": "9"}},
            "x",
            (0, 0),
        ),
    ],
)
async def test_sparse_completions(body: dict[str, Any], content: str, tokens: tuple[int, int]) -> None:
    """A completion without choices, text, usage or model says nothing, costs nothing and has the usual name."""
    async with canned(body=msgspec.json.encode(body)) as llm:
        reply = await llm.chat(HELLO)
    assert (reply.content, reply.model) == (content, "tip-generator")
    assert (reply.prompt_tokens, reply.completion_tokens) == tokens


@pytest.mark.parametrize(
    "body",
    [
        b"<html><body>It works!</body></html>",
        b"",
        b"[]",
        b'"text"',
        b"null",
        b'{"choices": {"message": {}}}',
        b'{"choices": [{"message": {"content": 5}}]}',
        b'{"choices": [{"message": "text"}]}',
        b'{"choices": [',
        b"\xff\xfe",
        b'{"choices": ' + b"[" * 100_000,
        b'{"error": {"message": "upstream said no"}}',
    ],
)
async def test_no_completion(body: bytes) -> None:
    """A 200 that is no chat completion is a failure with the start of what came instead."""
    async with canned(body=body) as llm:
        with pytest.raises(LlmFailed, match="the LLM proxy answered with ") as caught:
            await llm.chat(HELLO)
    assert len(caught.value.detail) < 500
    assert "\n" not in caught.value.detail


@pytest.mark.parametrize("status", [300, 307, 400, 401, 403, 404, 500, 502, 503, 504])
async def test_error_status(status: int) -> None:
    """An error status, redirects included, is a failure with the proxy's own message."""
    body = b'{"error": {"message": "model\\nnot found", "type": "x", "code": "404"}}'
    async with canned(status, body, {"Location": "http://elsewhere.test", "Retry-After": "5"}) as llm:
        with pytest.raises(LlmFailed, match=f"answered {status}: model not found$"):
            await llm.chat(HELLO)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"error": "plain"}', "plain"),
        (b'{"message": "plain"}', "plain"),
        (b'{"detail": "plain"}', "plain"),
        (b'{"detail": [{"loc": 1}]}', '{"detail": [{"loc": 1}]}'),
        (b"Bad Gateway", "Bad Gateway"),
        (b"", ""),
        (b"\xff", "\ufffd"),
        (b"x " * 1_000_000, ("x " * 100).strip()),
    ],
)
async def test_error_bodies(body: bytes, says: str) -> None:
    """The message is found in the forms that proxies use; else the body is quoted, 200 characters at most."""
    async with canned(500, body) as llm:
        with pytest.raises(LlmFailed) as caught:
            await llm.chat(HELLO)
    assert caught.value.detail.removeprefix("the LLM proxy answered 500: ").strip() == says


@pytest.mark.parametrize("status", [200, 401, 429])
@pytest.mark.parametrize("before", ["", "x" * 190])
async def test_key_is_never_repeated(status: int, before: str, caplog: pytest.LogCaptureFixture) -> None:
    """The proxy may repeat the key, part of it or its hash: no error and no log line does, cut or not."""
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


async def test_half_an_emoji() -> None:
    """A reply, or the message of an error, that was cut in the middle of an emoji is read with U+FFFD in its place."""
    body = b'{"choices": [{"message": {"content": "Hi \\ud83d", "\\ude00": 1}}]}'
    async with canned(body=body) as llm:
        assert (await llm.chat(HELLO)).content == "Hi \ufffd"
    async with canned(500, b'{"error": "no \\ud83d"}') as llm:
        with pytest.raises(LlmFailed, match=re.escape("no \ufffd")):
            await llm.chat(HELLO)


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


@pytest.mark.parametrize("key", ["sk-a\nb", "sk-a b", "sk-ü", "a\x00b"])
def test_bad_key(key: str) -> None:
    """A key that no header can carry stops the start, unshown."""
    with pytest.raises(SettingsError, match=r"^LITELLM_MASTER_KEY: takes printable ASCII without blanks$"):
        client(key=key)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:4000",
        "http://",
        "ftp://x",
        "http://x:99999",
        "http://a b",
        "redis://x",
        "http://x\n",
        "x" * 99_999,
    ],
)
def test_bad_url(url: str) -> None:
    """A LITELLM_URL that is no http(s) URL with a host stops the start with one line."""
    with pytest.raises(SettingsError, match=r"^LITELLM_URL: takes http://host:port or [^\n]*$"):
        client(url)


@pytest.mark.parametrize("url", ["http://u:pw@x", "http://x?key=pw", "http://x#pw"])
def test_url_with_secrets(url: str) -> None:
    """A LITELLM_URL with credentials or a query is refused, unshown."""
    with pytest.raises(SettingsError, match=r"^LITELLM_URL: takes no credentials") as caught:
        client(url)
    assert "pw" not in str(caught.value)


async def test_refused() -> None:
    """Nobody listens: unavailable."""
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
    """What a call took is free when it ends: a collector at work would keep every other request waiting."""
    async with asking(lambda *_: http(completion("x"))) as (_, llm):
        await llm.chat(HELLO)
        gc.collect()
        gc.disable()
        try:
            for _ in range(20):
                await llm.chat(HELLO)
            assert gc.collect() < 20
        finally:
            gc.enable()


async def test_broken_connection_is_tried_once_more() -> None:
    """A connection that closes before an answer began is no failure: the call is made again."""
    answers = [http(completion("first")), b"", http(completion("second"))]
    async with asking(lambda server, _: answers[len(server.asked) - 1]) as (server, llm):
        assert (await llm.chat(HELLO)).content == "first"
        assert (await llm.chat(HELLO)).content == "second"
    assert len(server.asked) == 3


async def test_broken_twice() -> None:
    """One more try and no further."""
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
    """Once its head is complete a call is not made again: the model was paid for. Before that nobody can tell."""
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
    """An answer said to be compressed that is not: a failure."""
    raw = http(b"not gzip", headers="Content-Encoding: gzip")
    async with asking(lambda *_: raw) as (_, llm):
        with pytest.raises(LlmFailed, match="cannot be decoded"):
            await llm.chat(HELLO)


async def test_at_most_so_many_at_once() -> None:
    """Calls beyond the limit wait for their turn; all are answered."""
    go = asyncio.Event()

    async def wait(_: Asked) -> bytes:
        if server.at_once == 3:
            go.set()
        await go.wait()
        return http(completion("x"))

    async with stand_in(wait) as server, client(server.url, max_concurrency=3) as llm:
        replies = await asyncio.gather(*(llm.chat(HELLO) for _ in range(10)))
    assert len(replies) == 10
    assert server.most_at_once == 3


async def test_calls_start_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls made together start one after another, so that their answers do not come all at once."""
    waits: list[float] = []
    go = asyncio.Event()

    async def pause(seconds: float) -> None:
        if seconds:  # else only others get their turn
            waits.append(seconds)
            await go.wait()

    async def one_asked() -> bool:
        return (len(waits), len(server.asked)) == (9, 1)

    # So far apart that it does not matter how long the test takes.
    monkeypatch.setattr("app.tips.chat.SPACING_SECONDS", 1_000.0)
    monkeypatch.setattr("app.tips.chat.asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": pause}))
    async with asking(lambda *_: http(completion("x")), max_concurrency=10) as (server, llm):
        calls = [asyncio.ensure_future(llm.chat(HELLO)) for _ in range(10)]
        await until_async(one_asked, "one call made, the others waiting")
        go.set()
        await asyncio.gather(*calls)
    assert [round(seconds / 1_000) for seconds in waits] == list(range(1, 10))


async def test_queue_has_an_end() -> None:
    """A call whose turn does not come in time is unavailable; those before it are not harmed."""
    go = asyncio.Event()

    async def wait(_: Asked) -> bytes:
        await go.wait()
        return http(completion("x"))

    async with stand_in(wait) as server, client(server.url, max_concurrency=1, queue_seconds=0.05) as llm:
        first = asyncio.ensure_future(llm.chat(HELLO))
        with pytest.raises(LlmUnavailable, match="too many calls") as caught:
            await asyncio.gather(first, llm.chat(HELLO))
        assert caught.value.retry_after == 1
        go.set()
        assert (await first).content == "x"
        assert (await llm.chat(HELLO)).content == "x"


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
    """Neither a proxy nor a .netrc from the environment gets between: the key goes to LITELLM_URL only."""
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{free_port()}")
    async with asking(lambda *_: http(completion("x"))) as (_, llm):
        assert (await llm.chat(HELLO)).content == "x"
