"""What is acknowledged survives a failover with the settings as they come, and where it would not, the log says so."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import httpx
import pytest

from app.settings import Settings
from state.errors import StoreUnavailable
from state.redis.advice import advise
from state.redis.connect import open_servers
from state.store import Store
from state.update.changes import Change, Fields, Hash, Values
from tests.support.bodies import reward
from tests.support.faults import waits_in_vain
from tests.support.processes import HOST, Server, free_port
from tests.support.redis_groups import Sentinels, redis_cluster, redis_sentinel
from tests.support.redis_servers import RedisServer, redis_server
from tests.support.service import service
from tests.support.waiting import PATIENCE_SECONDS, until, until_async

pytestmark = pytest.mark.anyio

SENDERS = 8
RISKY = "a failover LOSES acknowledged rewards"


class Load:
    """Rewards, each for a user of its own, sent until told to stop; `acknowledged` are the users answered 200."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(number,)) for number in range(SENDERS)]
        self.acknowledged: list[str] = []

    def _send(self, sender: int) -> None:
        number = 0
        with httpx.Client(base_url=self._url, timeout=PATIENCE_SECONDS) as client:
            while not self._over.is_set():
                number += 1
                user = f"u{sender}-{number}"
                with suppress(httpx.TransportError):
                    if client.post("/reward", json=reward(user)).status_code == 200:
                        self.acknowledged.append(user)

    @contextmanager
    def running(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in self._threads:
                thread.join()

    def more(self, count: int) -> None:
        """Wait until so many more were acknowledged."""
        goal = len(self.acknowledged) + count
        until(lambda: len(self.acknowledged) >= goal, f"{count} more rewards acknowledged", 3 * PATIENCE_SECONDS)


def lost(master: RedisServer, users: list[str]) -> list[str]:
    """The users of whom the master has no reward."""
    with master.client() as client:
        found = []
        for user in users:
            meta = client.hget(f"oo:{{{user}}}:linucb-v1", "meta")
            if meta is None or int.from_bytes(meta[16:24], "little") != 1:
                found.append(user)
        return found


def others_follow(group: Sentinels) -> bool:
    """Whether the master's replica is in sync and the sentinels know it."""
    with suppress(Exception):
        return group.settled()
    return False


def test_nothing_acknowledged_is_lost_in_a_failover() -> None:
    """Sentinel and no other setting: a planned failover and a kill -9, both under load, lose no reward that was
    answered 200."""
    with (
        redis_sentinel() as group,
        service({"REDIS_URL": group.url}, ready="/health/ready") as served,
    ):
        load = Load(served.url)
        with load.running():
            load.more(200)
            first = group.master
            group.sentinels[0].command("SENTINEL", "FAILOVER", group.name)
            until(lambda: group.master is not first, "the planned failover", 2 * PATIENCE_SECONDS)
            load.more(200)
            until(lambda: others_follow(group), "the old master in sync", 2 * PATIENCE_SECONDS)
            second = group.master
            second.kill()
            until(lambda: group.master is not second, "the failover", 2 * PATIENCE_SECONDS)
            second.start()
            load.more(200)
        users = load.acknowledged
        gone = lost(group.master, users)
    assert not gone, f"{len(gone)} of {len(users)} acknowledged rewards are lost"


KEY = "oo:{ann}:n"


def add_one(values: Values) -> Change[bool]:
    return Change(result=True, writes=(Fields(KEY, {b"n": b"%d" % (int(values[KEY][0] or 0) + 1)}),))


@asynccontextmanager
async def store_as_it_comes(url: str) -> AsyncIterator[Store]:
    """A store with the default of REDIS_WAIT_REPLICAS."""
    assert Settings().redis_wait_replicas == "auto"
    servers = open_servers(url, size=4, timeout=PATIENCE_SECONDS)
    store = Store(servers, timeout=PATIENCE_SECONDS, history_size=1, marker_seconds=60, wait_replicas=None)
    try:
        yield store
    finally:
        await store.close()


async def test_a_cluster_with_replicas_waits_for_one() -> None:
    """A write to a cluster is acknowledged when its replica has it, and not while that replica is frozen."""
    with redis_cluster(masters=1, replicas=1) as cluster:
        until(lambda: lists_a_replica(cluster.masters[0]), "the replica known to the master")
        async with store_as_it_comes(cluster.url) as store:
            assert await store.update("ann", (Hash(KEY, (b"n",)),), add_one)
            await waits_for(store, cluster.masters[0], cluster.replicas[0])


async def waits_for(store: Store, master: RedisServer, replica: RedisServer) -> None:
    """A write is not acknowledged while `replica` is frozen."""
    replica.pause()
    task = asyncio.create_task(store.update("ann", (Hash(KEY, (b"n",)),), add_one))
    await waits_in_vain(master)
    with pytest.raises(StoreUnavailable, match="too few Redis replicas have it"):
        await task


def lists_a_replica(master: RedisServer) -> bool:
    """Whether it says so itself: that a replica follows is in its table a moment after it is so."""
    return any(len(nodes) > 3 for nodes in master.command("CLUSTER", "SLOTS"))


async def test_a_replica_that_comes_later_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster without replicas works, and once it has one, that is waited for without a restart of the service."""
    monkeypatch.setattr("state.redis.cluster._LOOK_FOR_REPLICAS", 0.1)
    words = ("--cluster-enabled", "yes", "--cluster-port")
    with redis_cluster(masters=1) as cluster, redis_server(*words, str(bus := free_port())) as replica:
        [master] = cluster.masters
        async with store_as_it_comes(cluster.url) as store:
            assert await store.update("ann", (Hash(KEY, (b"n",)),), add_one)
            master.command("CLUSTER", "MEET", HOST, replica.port, bus)
            name = master.command("CLUSTER", "MYID")
            until(lambda: name in str(replica.command("CLUSTER", "NODES")), "they know each other")
            replica.command("CLUSTER", "REPLICATE", name)
            until(lambda: lists_a_replica(master), "the replica known to the master")

            async def waited_for() -> bool:
                assert await store.update("ann", (Hash(KEY, (b"n",)),), add_one)
                return "cmdstat_wait" in str(master.command("INFO", "commandstats"))

            await until_async(waited_for, "the replica waited for")
            await waits_for(store, master, replica)


async def test_one_server_without_replicas_works() -> None:
    """Likewise a single Redis."""
    with redis_server() as server:
        async with store_as_it_comes(server.url) as store:
            assert await store.update("ann", (Hash(KEY, (b"n",)),), add_one)


async def advised(url: str, wait_replicas: int | None, caplog: pytest.LogCaptureFixture) -> list[str]:
    """The warnings about a failover at this URL."""
    servers = open_servers(url, size=4, timeout=PATIENCE_SECONDS)
    caplog.clear()
    try:
        with caplog.at_level(logging.INFO, "oo.store"):
            await advise(servers, patience=PATIENCE_SECONDS, wait_replicas=wait_replicas)
    finally:
        await servers.close()
    return [message for message in caplog.messages if RISKY in message]


async def test_replicas_that_are_not_waited_for_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """A plain URL does not say that there are replicas, but INFO does; with 1 there is nothing to warn of."""
    with redis_server() as server, redis_server("--replicaof", f"127.0.0.1 {server.port}"):
        until(lambda: server.info()["connected_slaves"] == "1", "the replica connected")
        assert await advised(server.url, 1, caplog) == []
        for wait in (0, None):
            [line] = await advised(server.url, wait, caplog)
            assert line == (
                "Redis has replicas (connected: 1) and REDIS_WAIT_REPLICAS is 0: a failover LOSES acknowledged "
                "rewards; set it to 1 if a replica may become the master"
            )


async def test_zero_with_sentinel_or_a_cluster_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """Where the default would wait, 0 is a risk that the log names once, also while the replica is away."""
    words = (
        "REDIS_WAIT_REPLICAS is 0 with Sentinel or a Cluster that has replicas: a failover LOSES acknowledged rewards; "
        "leave it at auto"
    )
    with redis_cluster(masters=1, replicas=1) as cluster:
        until(lambda: lists_a_replica(cluster.masters[0]), "the replica known to the master")
        assert await advised(cluster.url, 0, caplog) == [words]
        assert await advised(cluster.url, None, caplog) == []
    with redis_sentinel() as group:
        assert await advised(group.url, 0, caplog) == [words]
        assert await advised(group.url, None, caplog) == []


def test_the_service_warns_at_its_start() -> None:
    """The process itself says it, as it comes."""
    with redis_server() as server, redis_server("--replicaof", f"127.0.0.1 {server.port}"):
        until(lambda: server.info()["connected_slaves"] == "1", "the replica connected")
        with service({"REDIS_URL": server.url}) as served:
            until(lambda: said(served, RISKY), "the warning")


def said(served: Server, words: str) -> bool:
    return words in served.log
