"""The transport: a connection for each call in flight, used again while it is fresh."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace

import httpx
import pytest

from app.tips.transport import Connections
from tests.support.processes import free_port
from tests.support.standin import Asked, StandIn, http, stand_in
from tests.support.waiting import until_async

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def asking(together: int = 1) -> AsyncIterator[tuple[StandIn, httpx.AsyncClient]]:
    """A server that answers once so many calls have come, and a client over the transport."""
    come = asyncio.Event()

    async def answer(_: Asked) -> bytes:
        if server.at_once == together:
            come.set()
        await come.wait()
        return http(b"hello")

    async with stand_in(answer) as server:
        transport = Connections(ssl.create_default_context())
        async with httpx.AsyncClient(transport=transport, base_url=server.url) as client:
            yield server, client


async def test_calls_in_a_row_share_a_connection() -> None:
    """A connection is free again when the body of its answer is closed."""
    async with asking() as (server, client):
        for _ in range(3):
            assert (await client.post("/", json={})).text == "hello"
        assert server.connections == 1
        async with client.stream("POST", "/", json={}) as first:
            assert (await client.post("/", json={})).text == "hello"
            assert await first.aread() == b"hello"
        await client.post("/", json={})
        assert (server.connections, len(server.asked)) == (2, 6)


async def test_idle_connections_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many calls at once leave many connections; those that were idle for a while are closed when a call begins."""

    async def one_open() -> bool:
        return server.open == 1

    async with asking(together=4) as (server, client):
        await asyncio.gather(*(client.post("/", json={}) for _ in range(4)))
        await client.post("/", json={})
        assert (server.connections, server.open) == (4, 4)
        monkeypatch.setattr("app.tips.transport.IDLE_SECONDS", 0.0)
        await client.post("/", json={})
        await until_async(one_open, "all closed but the one in use")
        assert server.connections == 5


async def test_closed_with_the_client() -> None:
    """No connection is left open."""

    async def none_open() -> bool:
        return server.open == 0

    async with asking() as (server, client):
        await client.post("/", json={})
        assert server.open == 1
        await client.aclose()
        await until_async(none_open, "all closed")


async def test_failed_calls_leave_nothing_behind() -> None:
    """The connection of a call that failed is free for the next."""
    transport = Connections(ssl.create_default_context())
    async with httpx.AsyncClient(transport=transport) as client:
        for _ in range(3):
            with pytest.raises(httpx.ConnectError):
                await client.post(f"http://127.0.0.1:{free_port()}/", json={})
    assert len(transport._all) == 1


async def test_last_used_is_used_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls in a row use one connection, so that the others become idle."""
    clock = SimpleNamespace(now=0.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr("app.tips.transport.time", clock)

    async def one_open() -> bool:
        return server.open == 1

    async with asking(together=2) as (server, client):
        await asyncio.gather(*(client.post("/", json={}) for _ in range(2)))
        for clock.now in (3.0, 4.0, 6.0):
            await client.post("/", json={})
        await until_async(one_open, "the other was idle for more than 5 s")
        assert server.connections == 2
