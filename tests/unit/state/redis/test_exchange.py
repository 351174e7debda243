"""An exchange: error replies in their places or raised, and connections that fail meanwhile."""

import asyncio
import importlib.util
import sys
from typing import Any

import pytest
import redis
from redis.asyncio.connection import Connection
from redis.exceptions import (
    BusyLoadingError,
    ConnectionError,  # noqa: A004  # redis-py's name
    InvalidResponse,
    NoPermissionError,
    ResponseError,
)

from state.redis import exchange as module
from state.redis.exchange import Command, errors_in, exchange, exchange_or_raise, pack, raise_for, template

pytestmark = pytest.mark.anyio

WRONG = ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value")
DENIED = NoPermissionError("NOPERM no rights")


class Line:
    """A connection that answers `replies`, one for each command; an exception among them is raised."""

    def __init__(self, *replies: Any, connected: bool = True) -> None:
        self.is_connected = connected
        self.written: list[bytes] = []
        self._replies = list(replies)

    async def send_packed_command(self, command: bytes, *, check_health: bool) -> None:
        assert not check_health  # a PING of redis-py's own would take a reply of ours
        self.written.append(command)

    async def read_response(self, *, disable_decoding: bool) -> Any:
        assert disable_decoding
        reply = self._replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return await reply if asyncio.iscoroutine(reply) else reply


class Pipe(Connection):
    """redis-py's connection, which gets these parts, one at each turn of the event loop, and counts its reads."""

    def __init__(self, *parts: bytes) -> None:
        super().__init__(protocol=2)
        self._reader, self._writer = asyncio.StreamReader(), Sink()  # type: ignore[assignment]  # nothing is sent
        self._parser.on_connect(self)  # type: ignore[no-untyped-call]  # redis-py
        self._arriving = list(parts)
        self.read = 0
        self._arrive()

    def _arrive(self) -> None:
        assert self._reader is not None
        if self._arriving:
            self._reader.feed_data(self._arriving.pop(0))
            asyncio.get_running_loop().call_soon(self._arrive)

    async def read_response(self, *arguments: Any, **options: Any) -> Any:
        self.read += 1
        return await super().read_response(*arguments, **options)

    def __del__(self, *_: Any) -> None: ...  # there is nothing to close


class Sink:
    def write(self, data: bytes) -> None: ...
    def writelines(self, parts: Any) -> None: ...
    async def drain(self) -> None: ...
    def close(self) -> None: ...
    async def wait_closed(self) -> None: ...


STREAM = b"+OK\r\n-WRONGTYPE x\r\n$2\r\n\xff\n\r\n$-1\r\n*2\r\n:7\r\n-ERR y\r\n*-1\r\n*0\r\n:3\r\n"
COMMANDS = [("PING",)] * 8


REPLIES = [b"OK", "ResponseError: WRONGTYPE x", b"\xff\n", None, [7, "ResponseError: y"], None, [], 3]


def readable(reply: Any) -> Any:
    """Errors as texts, for they are not equal to others of their kind."""
    if isinstance(reply, list):
        return [readable(part) for part in reply]
    return f"{type(reply).__name__}: {reply}" if isinstance(reply, Exception) else reply


async def test_one_write_and_every_reply_in_its_place() -> None:
    """All commands go out at once, and an error reply does not hide those after it."""
    line = Line(b"OK", DENIED, 3)
    assert await exchange(line, [("SET", "k", b"\xff"), ("GET", "k"), ("LLEN", 7)]) == [b"OK", DENIED, 3]  # type: ignore[arg-type]  # a stand-in
    assert line.written == [
        b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\n\xff\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*2\r\n$4\r\nLLEN\r\n$1\r\n7\r\n"
    ]


async def test_a_closed_connection_is_never_reopened() -> None:
    """Nothing is sent: a new connection would not know what was watched on the old one."""
    line = Line(b"OK", connected=False)
    with pytest.raises(ConnectionError, match="was closed"):
        await exchange(line, [("EXEC",)])  # type: ignore[arg-type]  # a stand-in
    assert line.written == []


@pytest.mark.parametrize("error", [RuntimeError("the handler is closed"), ConnectionError("reset")])
async def test_a_connection_that_ends_meanwhile(error: Exception) -> None:
    """Either loop's error is redis-py's ConnectionError, which the callers expect."""
    with pytest.raises(ConnectionError):
        await exchange(Line(b"OK", error), [("PING",), ("PING",)])  # type: ignore[arg-type]  # a stand-in


async def test_raised_or_not() -> None:
    """Of error replies all but WRONGTYPE are raised."""
    assert await exchange_or_raise(Line(WRONG, 1), [("GET", "k"), ("PING",)], 1.0) == [WRONG, 1]  # type: ignore[arg-type]  # a stand-in
    with pytest.raises(NoPermissionError):
        await exchange_or_raise(Line(WRONG, DENIED), [("GET", "k"), ("PING",)], 1.0)  # type: ignore[arg-type]  # a stand-in
    raise_for([1, WRONG, None])
    with pytest.raises(NoPermissionError):
        raise_for([1, WRONG, DENIED])


async def test_a_reply_that_does_not_come_in_time() -> None:
    """The time limit is of the whole exchange."""
    with pytest.raises(TimeoutError):
        await exchange_or_raise(Line(b"OK", asyncio.sleep(60)), [("PING",), ("PING",)], 0.001)  # type: ignore[arg-type]  # a stand-in


async def test_replies_of_one_read_are_taken_at_once() -> None:
    """By private fields of redis-py 8.1. After an upgrade look at `_AsyncHiredisParser.read_response` again."""
    assert redis.__version__.startswith("8.1.")
    pipe = Pipe(STREAM)
    assert readable(await exchange(pipe, COMMANDS)) == REPLIES
    assert pipe.read == 0


async def test_replies_that_come_in_pieces() -> None:
    """Wherever they are cut, none is lost or read twice."""
    for at in range(1, len(STREAM)):
        assert readable(await exchange(Pipe(STREAM[:at], STREAM[at:]), COMMANDS)) == REPLIES


async def test_what_follows_the_replies_stays() -> None:
    """It belongs to the next exchange."""
    pipe = Pipe(b":1\r\n:2\r\n:3\r\n")
    assert await exchange(pipe, COMMANDS[:2]) == [1, 2]
    assert await exchange(pipe, COMMANDS[:1]) == [3]


@pytest.mark.parametrize("first", [b"+OK\r\n", b""])
@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (b"-LOADING wait\r\n", BusyLoadingError),
        (b"?\r\n", InvalidResponse),
    ],
)
async def test_replies_after_which_a_connection_is_of_no_use(
    first: bytes, reply: bytes, error: type[Exception]
) -> None:
    """They are raised, wherever among the others they come."""
    with pytest.raises(error):
        await exchange(Pipe(first + reply + b":1\r\n"), COMMANDS[:3])


@pytest.mark.parametrize("last", [b":2\r\n", b":2\r\n:3\r\n"])
async def test_a_notice_is_no_reply(last: bytes) -> None:
    """Redis sends it without being asked, in its newer protocol."""
    assert await exchange(Pipe(b":1\r\n>2\r\n+invalidate\r\n*0\r\n" + last), COMMANDS[:2]) == [1, 2]


async def test_a_server_that_closes_the_connection() -> None:
    """Before all replies have come: those that have are of no use."""
    pipe = Pipe(b":1\r\n")
    asyncio.get_running_loop().call_soon(pipe._reader.feed_eof)  # type: ignore[union-attr]  # it has one
    with pytest.raises(ConnectionError, match="the server closed the connection"):
        await exchange(pipe, COMMANDS[:2])


def test_errors_within_a_transaction() -> None:
    """Of whatever kind; without one, nothing is looked at twice."""
    assert errors_in([b"OK", None, 1, []]) == []
    assert errors_in([b"OK", 1.5]) == []
    loading = BusyLoadingError("wait")
    assert errors_in([WRONG, 1, loading]) == [WRONG, loading]


@pytest.mark.parametrize("words", [("PING",), ("HMGET", "k", b"%b %%", "\xe9", b"\r\n"), ("ZRANGE", "k", 0, -1, b"")])
def test_what_is_packed_before(words: Command) -> None:
    """A template is what hiredis packs, whichever words are put in later."""
    known = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    for places in (range(0), range(1), range(1, len(words)), range(len(words))):
        made = template(*(None if at in places else word for at, word in enumerate(words)))
        given = [part for at, word in enumerate(known) if at in places for part in (len(word), word)]
        assert made % tuple(given) == pack(words)


async def test_a_redis_py_without_those_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each reply is read in the public way."""
    monkeypatch.setattr(module, "NOT_ENOUGH_DATA", None)
    pipe = Pipe(STREAM)
    assert readable(await exchange(pipe, COMMANDS)) == REPLIES
    assert pipe.read == len(COMMANDS)


def test_a_redis_py_without_the_private_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then every reply is read in the public way."""
    monkeypatch.setitem(sys.modules, "redis._parsers.hiredis", None)
    found = importlib.util.spec_from_file_location("another_exchange", module.__file__)
    assert found is not None
    assert found.loader is not None
    again = importlib.util.module_from_spec(found)
    found.loader.exec_module(again)
    assert again.NOT_ENOUGH_DATA is None
