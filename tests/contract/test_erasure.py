"""Erasing a user: by names that are known, so neither other users' keys nor the user's own requests are in the way."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from state import keys
from state.errors import ConflictError
from state.redis.connect import open_servers
from state.redis.exchange import exchange
from state.store import Store
from state.update.changes import Append, Change, Fields, Hash, List, Once, Values
from tests.support.faults import Proxy
from tests.support.redis_servers import RedisServer
from tests.support.waiting import PATIENCE_SECONDS, until_async

pytestmark = pytest.mark.anyio

FIXED = [keys.of("ann", kind) for kind in keys.fixed(["p"])]
KEY, PAST = keys.record("ann", "p"), keys.history("ann")
DAY = 86_400


def step(values: Values) -> Change[int]:
    number = int(values[KEY][0] or 0) + 1
    return Change(number, (Fields(KEY, {b"n": b"%d" % number}), Append(PAST, b"e")))


async def reward(store: Store, key: str | None = None) -> int:
    once = Once(keys.marker("ann", "p", key), b"r", seen=-1) if key else None
    return await store.update("ann", (Hash(KEY, (b"n",)), List(PAST)), step, once=once)


def opened(url: str, marker_seconds: int = DAY) -> Store:
    servers = open_servers(url, size=8, timeout=PATIENCE_SECONDS)
    return Store(servers, timeout=PATIENCE_SECONDS, history_size=9, marker_seconds=marker_seconds)


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[Store]:
    store = opened(redis_url)
    yield store
    await store.close()


def calls(server: RedisServer, command: str) -> int:
    """How often a command was called."""
    with server.client() as client:
        return int(client.info("commandstats").get(f"cmdstat_{command}", {"calls": 0})["calls"])


async def test_no_search_among_other_users(store: Store, real_redis: RedisServer) -> None:
    """Once every idempotency key must be in an index no key is looked for: what an erasure costs does not depend on how
    many keys others have. Its answer lists what there was."""
    real_redis.command("SET", keys.INDEXED_SINCE, int(time.time()) - 2 * DAY - 1)
    for number in range(3):
        await reward(store, f"k/{number}")
    real_redis.command("CONFIG", "RESETSTAT")
    names = [KEY, keys.history("ann"), keys.index("ann"), *(keys.marker("ann", "p", f"k/{n}") for n in range(3))]
    assert await store.erase("ann", FIXED) == sorted(names)
    assert await store.erase("ann", FIXED) == []
    assert calls(real_redis, "scan") == 0
    assert real_redis.command("KEYS", "oo:{ann}:*") == []


async def test_keys_of_a_version_without_indexes(real_redis: RedisServer) -> None:
    """As long as an idempotency key that is in no index may be remembered, it is looked for, and so it is later if that
    is asked for."""
    stray = keys.marker("ann", "p", "stray")
    cases = ((None, False, True), (0, False, True), (2 * DAY + 1, False, False), (9 * DAY, True, True))
    for since, thorough, found in cases:
        real_redis.command("FLUSHALL")
        if since is not None:
            real_redis.command("SET", keys.INDEXED_SINCE, int(time.time()) - since)
        real_redis.command("SET", stray, "r")
        store = opened(real_redis.url)
        assert await store.erase("ann", FIXED, thorough=thorough) == ([stray] if found else [])
        assert real_redis.command("EXISTS", stray) == (0 if found else 1)
        await store.close()


async def test_since_when_is_known_once(store: Store, real_redis: RedisServer) -> None:
    """The first replica with indexes notes the time; later ones leave it as it is."""
    await store.note_index()
    assert abs(int(real_redis.command("GET", keys.INDEXED_SINCE)) - time.time()) < 3_600
    real_redis.command("SET", keys.INDEXED_SINCE, 7)
    await store.note_index()
    assert real_redis.command("GET", keys.INDEXED_SINCE) == "7"


async def test_a_user_that_is_served_all_the_time_is_erased(store: Store, real_redis: RedisServer) -> None:
    """Requests without an idempotency key never make an erasure wait, however many of them there are."""
    busy = [opened(real_redis.url) for _ in range(2)]
    stop = asyncio.Event()

    async def score(store: Store) -> None:
        while not stop.is_set():
            try:
                await reward(store)
            except ConflictError:
                await asyncio.sleep(0)

    async def served() -> bool:
        return bool(real_redis.command("EXISTS", KEY))

    tasks = [asyncio.create_task(score(one)) for one in busy for _ in range(2)]
    try:
        for _ in range(10):
            await until_async(served, "the user served again")
            assert KEY in await store.erase("ann", FIXED)
    finally:
        stop.set()
        await asyncio.gather(*tasks)
        for one in busy:
            await one.close()


async def test_a_reward_that_is_first(store: Store, real_redis: RedisServer) -> None:
    """A reward with a key that comes while its user is erased is removed with its key: the erasure begins anew."""
    with Proxy(real_redis.port) as proxy:
        slow = opened(proxy.url)
        await reward(slow, "one")
        await slow.note_index()
        proxy.hold_exec()
        task = asyncio.create_task(slow.erase("ann", FIXED))

        async def held() -> bool:
            return proxy.held == 1

        await until_async(held, "EXEC held")
        assert await reward(store, "two") == 2
        proxy.release()
        removed = await task
        await slow.close()
    assert {keys.marker("ann", "p", name) for name in ("one", "two")} < set(removed)
    assert real_redis.command("KEYS", "oo:{ann}:*") == []


async def test_a_lost_reply(real_redis: RedisServer) -> None:
    """The reply to the removal is lost: the removed keys are named all the same."""
    with Proxy(real_redis.port) as proxy:
        store = opened(proxy.url)
        await reward(store, "one")
        proxy.lose_reply()
        removed = await store.erase("ann", FIXED)
        assert proxy.met
        await store.close()
    assert removed == sorted([KEY, keys.history("ann"), keys.marker("ann", "p", "one"), keys.index("ann")])


async def test_the_index_outlives_its_keys(store: Store, real_redis: RedisServer) -> None:
    """The index expires after the last idempotency key, also if these lived longer before, and loses members that have
    expired."""
    index = keys.index("ann")
    await reward(store, "one")
    assert DAY < real_redis.command("TTL", index) <= DAY + 3_600
    brief = opened(real_redis.url, marker_seconds=60)
    await reward(brief, "two")
    assert real_redis.command("TTL", index) > DAY
    real_redis.command("ZADD", index, "XX", int(time.time()) - 3_601, "p:once:one", 0, "")
    await reward(store, "three")
    assert real_redis.command("ZRANGE", index, 0, -1) == ["p:once:two", "p:once:three", ""]
    await brief.close()


async def test_without_a_key_nothing_is_indexed(store: Store, real_redis: RedisServer) -> None:
    """A reward without an idempotency key costs Redis no command for an index, nor one to cut a history with room."""
    await reward(store)
    real_redis.command("CONFIG", "RESETSTAT")
    await reward(store)
    with real_redis.client() as client:
        used = {name: found["calls"] for name, found in client.info("commandstats").items()}
    names = ("watch", "hmget", "llen", "multi", "hset", "rpush", "set", "exec")
    others = {"info", "config|resetstat", "client|setinfo", "hello", "ping"}
    assert {name.removeprefix("cmdstat_") for name in used} - others == set(names)
    assert all(used[f"cmdstat_{name}"] == 1 for name in names)


async def test_memory_forgets_what_expired() -> None:
    """The embedded store does not grow with every idempotency key there ever was."""
    servers = open_servers("memory://", size=4, timeout=PATIENCE_SECONDS)
    store = Store(servers, timeout=PATIENCE_SECONDS, history_size=9, marker_seconds=1)
    for number in range(1_000):
        await reward(store, f"k{number}")
    [database] = servers._pool.connection_kwargs["server"].dbs.values()  # type: ignore[attr-defined]  # its memory

    async def small() -> bool:
        for _ in range(300):
            async with servers.connection(KEY) as connection:
                await exchange(connection, [("PING",)])
        return len(database._dict) < 300

    await until_async(small, "expired keys gone")
    await store.close()
