"""Commands that are tried again until Redis answers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from state.asking import Asker
from state.errors import CorruptState, StoreUnavailable
from state.redis.connect import open_servers
from state.redis.failure import Outage
from state.redis.servers import Servers

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def opened(url: str = "memory://") -> AsyncIterator[Servers]:
    servers = open_servers(url, size=4, timeout=5.0)
    try:
        yield servers
    finally:
        await servers.close()


async def test_a_reply() -> None:
    """As Redis gives it."""
    async with opened() as servers:
        asker = Asker(servers, timeout=5.0, outage=Outage())
        await asker.ask("k", ("SET", "k", "v"))
        assert await asker.ask("k", ("GET", "k")) == b"v"
        with pytest.raises(CorruptState, match="k: holds a value of another type"):
            await asker.ask("k", ("HGET", "k", "f"))


async def test_a_refusal_is_not_an_answer() -> None:
    """A command that Redis refuses every time ends as an outage that says why."""
    async with opened() as servers:
        with pytest.raises(StoreUnavailable, match="Redis refuses: ResponseError"):
            await Asker(servers, timeout=0.2, outage=Outage()).ask("k", ("NOTACOMMAND", "k"))


async def test_nobody_is_there() -> None:
    """It gives up when its time is over."""
    async with opened("redis://127.0.0.1:1/0") as servers:
        with pytest.raises(StoreUnavailable):
            await Asker(servers, timeout=0.2, outage=Outage()).ask("k", ("PING",))
