"""An exchange: error replies in their places or raised, and connections that fail meanwhile."""

import asyncio
from typing import Any

import pytest
from redis.exceptions import ConnectionError, NoPermissionError, ResponseError  # noqa: A004  # redis-py's name

from state.redis.exchange import exchange, exchange_or_raise, raise_for

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
