"""Connections that are lent: fresh ones, and never one on which something went wrong."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.exceptions import ConnectionError  # noqa: A004  # redis-py's name

from state.redis.servers import Where, borrow, fresh_connection

pytestmark = pytest.mark.anyio


class Line:
    """A connection that notes what is done to it; `stale`: the server has closed it while it was idle."""

    def __init__(self, *, stale: bool = False, error: Exception | None = None, host: str = "h", path: str = "") -> None:
        self.host, self.port, self.path = host, 6379, path
        self.done: list[str] = []
        self._stale = stale
        self._error = error

    async def connect(self) -> None:
        self.done.append("connect")
        if self._error is not None:
            raise self._error

    async def can_read(self) -> bool:
        return self._stale

    async def disconnect(self, *, nowait: bool) -> None:
        assert nowait  # the goodbye of TLS would wait for a server that may be gone
        self.done.append("disconnect")


async def used(line: Line, error: BaseException | None = None) -> None:
    async with fresh_connection(line):  # type: ignore[arg-type]  # a stand-in
        line.done.append("use")
        if error is not None:
            raise error


def notes(error: BaseException) -> list[str]:
    return getattr(error, "__notes__", [])


async def test_connected_and_kept() -> None:
    """After a use without failure it stays open for the next."""
    line = Line()
    await used(line)
    assert line.done == ["connect", "use"]


async def test_a_stale_connection_is_replaced() -> None:
    """One with something to read before anything was sent is closed, or owes a reply of before."""
    line = Line(stale=True)
    await used(line)
    assert line.done == ["connect", "disconnect", "connect", "use"]


@pytest.mark.parametrize("error", [ConnectionError("reset"), OSError(5, "io"), asyncio.CancelledError()])
async def test_a_failure_ends_the_connection(error: BaseException) -> None:
    """Whatever failed, and also when the caller is cancelled, it is closed, and the error says where that was."""
    line = Line()
    with pytest.raises(type(error)) as raised:
        await used(line, error)
    assert line.done == ["connect", "use", "disconnect"]
    assert notes(raised.value) == ["h:6379"]


async def test_an_error_of_the_caller() -> None:
    """Something else that is raised within closes the connection too, and says nothing of a server."""
    line = Line()
    with pytest.raises(ZeroDivisionError) as raised:
        await used(line, ZeroDivisionError())
    assert line.done[-1] == "disconnect"
    assert notes(raised.value) == []


@pytest.mark.parametrize("error", [AttributeError("no attribute 'read'"), RuntimeError("closed")])
async def test_closed_while_connecting(error: Exception) -> None:
    """What redis-py stumbles over is a failed connection."""
    with pytest.raises(ConnectionError, match="while it was opened"):
        await used(Line(error=error))


@pytest.mark.parametrize(
    ("line", "where"),
    [(Line(host="::1"), "[::1]:6379"), (Line(path="/run/r.sock"), "/run/r.sock"), (Line(host=""), "")],
)
async def test_addresses(line: Line, where: str) -> None:
    """IPv6 in brackets, a socket by its path, nothing where Sentinel has not named a master."""
    with pytest.raises(ConnectionError) as raised:
        await used(line, ConnectionError())
    [note] = notes(raised.value)
    assert (note, isinstance(note, Where)) == (where, True)


async def test_borrowing_is_limited_and_use_is_not() -> None:
    """The time limit is for getting the connection."""

    @asynccontextmanager
    async def lend(event: asyncio.Event) -> AsyncIterator[Any]:
        await event.wait()
        yield "connection"

    free = asyncio.Event()
    with pytest.raises(TimeoutError):
        async with borrow(lend(free), 0.001):
            pass
    free.set()
    async with borrow(lend(free), 0.001) as connection:
        await asyncio.sleep(0.01)
        assert str(connection) == "connection"
