"""REDIS_WAIT_REPLICAS: what is acknowledged is on that many replicas of the very server that has it."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager

import pytest
from redis.asyncio.connection import AbstractConnection

from state import keys
from state.errors import StoreUnavailable
from state.loops import Changed
from state.redis.connect import open_servers
from state.redis.servers import Lend, Servers
from state.store import Store
from state.update.changes import Change, Fields, Hash, Once, Values
from state.values.loop import Change as Entry
from state.values.loop import Stage, Standing
from tests.support.faults import Proxy, waits_in_vain
from tests.support.redis_servers import RedisServer, redis_server
from tests.support.waiting import PATIENCE_SECONDS, until

pytestmark = pytest.mark.anyio

KEY = "oo:{ann}:n"


def add_one(values: Values) -> Change[bool]:
    return Change(result=False, writes=(Fields(KEY, {b"n": b"%d" % (int(values[KEY][0] or 0) + 1)}),))


class TakenOver:
    """A master and its successor: the first connection lent leads to the one, all later ones to the other, as when
    Sentinel makes a replica the master between two commands."""

    spans_users = True
    replicated = False

    def __init__(self, first: Servers, then: Servers) -> None:
        self._first = first
        self._then = then
        self._lent = 0

    @asynccontextmanager
    async def connection(self, key: str, *, insist: bool = False) -> AsyncIterator[AbstractConnection]:
        self._lent += 1
        async with (self._first if self._lent == 1 else self._then).connection(key, insist=insist) as connection:
            yield connection

    async def masters(self) -> Mapping[str, Lend]:
        return await self._then.masters()

    async def slots(self) -> Sequence[Sequence[int]]:
        return await self._then.slots()

    async def refresh(self) -> None:
        pass

    async def close(self) -> None:
        await self._first.close()
        await self._then.close()


@pytest.fixture
def alone() -> Iterator[RedisServer]:
    """A Redis without replicas."""
    with redis_server() as server:
        yield server


@pytest.fixture
def followed() -> Iterator[RedisServer]:
    """A Redis with one replica."""
    with (
        redis_server() as server,
        redis_server("--replicaof", f"127.0.0.1 {server.port}"),
        server.client(single_connection_client=True) as client,
    ):
        # Its link may be up for a second before it is sent what is written.
        until(lambda: client.set("first", "write") and client.wait(1, 100), "the replica in sync")
        yield server


@asynccontextmanager
async def store_on(servers: Servers) -> AsyncIterator[Store]:
    store = Store(servers, timeout=PATIENCE_SECONDS, history_size=10, marker_seconds=3_600, wait_replicas=1)
    try:
        yield store
    finally:
        await store.close()


def open_one(url: str) -> Servers:
    return open_servers(url, size=4, timeout=PATIENCE_SECONDS)


@pytest.mark.parametrize("known", [False, True], ids=["written", "replayed"])
async def test_the_replicas_of_another_master_do_not_count(
    alone: RedisServer, followed: RedisServer, known: bool
) -> None:
    """A master wrote a change, or remembered it, and was replaced before a replica had it: it is not acknowledged,
    though the new master has replicas."""
    once = Once(keys.marker("ann", "p", "k"), b"this", seen=True)
    if known:
        alone.command("SET", once.key, once.request)
    async with store_on(TakenOver(open_one(alone.url), open_one(followed.url))) as store:
        task = asyncio.create_task(store.update("ann", (Hash(KEY, (b"n",)),), add_one, once=once))
        await waits_in_vain(alone)
        with pytest.raises(StoreUnavailable, match="too few Redis replicas have it"):
            await task
        # A repeat finds nothing on the new master, and there it is applied.
        assert await store.update("ann", (Hash(KEY, (b"n",)),), add_one, once=once) is False
    assert followed.command("HGET", KEY, "n") == "1"


async def test_acknowledged_once_a_replica_has_it(followed: RedisServer) -> None:
    """With a replica in sync changes and their repeats are acknowledged."""
    once = Once(keys.marker("ann", "p", "k"), b"this", seen=True)
    async with store_on(open_one(followed.url)) as store:
        assert [await store.update("ann", (Hash(KEY, (b"n",)),), add_one, once=once) for _ in range(2)] == [False, True]


async def test_a_lost_reply_is_looked_up_and_waited_for(alone: RedisServer, followed: RedisServer) -> None:
    """A change whose reply was lost is found, and acknowledged only if a replica has it."""
    for server, found in ((followed, True), (alone, False)):
        with Proxy(server.port) as proxy:
            async with store_on(open_one(proxy.url)) as store:
                proxy.lose_reply()
                if found:
                    assert await store.update("ann", (Hash(KEY, (b"n",)),), add_one) is False
                else:
                    task = asyncio.create_task(store.update("ann", (Hash(KEY, (b"n",)),), add_one))
                    await waits_in_vain(server)
                    with pytest.raises(StoreUnavailable, match="too few Redis replicas have it"):
                        await task
        assert server.command("HGET", KEY, "n") == "1"


async def test_cut_while_waiting(followed: RedisServer) -> None:
    """A connection lost while replicas are waited for is no reason to write again."""
    with Proxy(followed.port, on="WAIT") as proxy:
        async with store_on(open_one(proxy.url)) as store:
            proxy.lose_reply()
            with pytest.raises(StoreUnavailable):
                await store.update("ann", (Hash(KEY, (b"n",)),), add_one)
    assert followed.command("HGET", KEY, "n") == "1"


async def test_who_serves_is_on_a_replica_too(alone: RedisServer, followed: RedisServer) -> None:
    """A change of who serves a loop is acknowledged once a replica has it, and else says that it is written."""

    def make(found: Standing | None, now: int) -> Changed | None:
        after = Standing(1, "e", "n", Stage(1, "p"))
        return None if found == after else Changed(after, Entry(1, now, "ops", after.now), None)

    for server in (followed, alone):
        async with store_on(open_one(server.url)) as store:
            task = asyncio.create_task(store.loops.change("tips", make))
            if server is followed:
                await task
            else:
                await waits_in_vain(server)
                with pytest.raises(StoreUnavailable, match="written, but too few Redis replicas have it"):
                    await task
            assert list(await store.loops.states(["tips"])) == ["tips"]
