"""Redis as operators run it, and fail it: within its time a refusal, never a half write, and recovery by itself."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import redis

from state import keys
from state.errors import StoreError, StoreUnavailable
from state.redis.cluster import Cluster as Masters
from state.redis.connect import open_servers
from state.store import Store
from state.update.changes import Append, Change, Fields, Hash, List, Values
from state.values.columns import Columns
from tests.support.faults import hasty, waits_in_vain
from tests.support.processes import free_port
from tests.support.redis_groups import Cluster, Sentinels, redis_cluster, redis_sentinel
from tests.support.redis_servers import RedisServer, redis_server
from tests.support.waiting import PATIENCE_SECONDS, until, until_async

pytestmark = pytest.mark.anyio

N = (b"n",)
# Sentinels that never take a busy server for one that is down.
NEVER_MS = 3_600_000


async def add(store: Store, user: str = "u") -> int:
    """Add 1 to the counter of a user, within the store's time whatever happens; what it has come to."""

    key, past = keys.record(user, "p"), keys.history(user)

    def step(values: Values) -> Change[int]:
        number = int(values[key][0] or b"0") + 1
        return Change(number, (Fields(key, {b"n": b"%d" % number}), Append(past, b"%d" % number)))

    async with asyncio.timeout(2 * PATIENCE_SECONDS):
        return await store.update(user, (Hash(key, N), List(past)), step)


async def stored(store: Store, user: str = "u") -> int:
    async with asyncio.timeout(2 * PATIENCE_SECONDS):
        [value] = await store.read(keys.record(user, "p"), N)
    return int(value or b"0")


async def refused(store: Store, reason: str = "Redis", user: str = "u") -> None:
    """Reads or writes are refused, by StoreUnavailable and in time."""
    with pytest.raises(StoreUnavailable, match=reason):
        await add(store, user)


async def probed(store: Store, *, reads: bool) -> None:
    """The probe says that writes are refused, and whether Redis can be read; and writes nothing itself."""
    with pytest.raises(StoreUnavailable, match="Redis refuses: ") as raised:
        await store.ping()
    assert raised.value.reads is reads


async def recovered(store: Store, user: str = "u") -> int:
    """Wait until an update is accepted; what it comes to."""
    number = 0

    async def accepted() -> bool:
        nonlocal number
        try:
            number = await add(store, user)
        except StoreError:
            return False
        return True

    await until_async(accepted, "an update accepted")
    return number


@asynccontextmanager
async def opened(url: str, *, wait_replicas: int = 0, seconds: float = PATIENCE_SECONDS) -> AsyncIterator[Store]:
    servers = open_servers(url, size=8, timeout=seconds)
    store = Store(servers, timeout=seconds, history_size=100, marker_seconds=60, wait_replicas=wait_replicas)
    try:
        yield store
    finally:
        await store.close()


# One server


@pytest.fixture(scope="module")
def own_redis() -> Iterator[RedisServer]:
    """A server that these tests may stop, freeze and reconfigure, with an append-only file."""
    # everysec may hold a write back for 2 s while the disk is busy, and a killed server would then lose it.
    words = ["--appendonly", "yes", "--appendfsync", "no", "--enable-protected-configs", "yes"]
    with redis_server(*words) as server:
        yield server


@pytest.fixture
def server(own_redis: RedisServer) -> RedisServer:
    own_redis.command("FLUSHALL")
    return own_redis


async def test_frozen(server: RedisServer) -> None:
    """A Redis that hangs: writes and reads end in time, several at once as well; it goes on where it was."""
    async with opened(server.url) as store:
        assert await add(store) == 1
        server.pause()
        with hasty(store):
            results = await asyncio.gather(
                *(add(store) for _ in range(20)), *(stored(store) for _ in range(20)), return_exceptions=True
            )
        server.resume()
        assert {type(result) for result in results} == {StoreUnavailable}
        assert {str(result) for result in results} == {"Redis did not answer in time"}
        # What was sent before the fence arrives with it, so the outcome is unknown, but one transaction at most.
        assert await recovered(store) in {2, 22}


async def test_frozen_behind_tls() -> None:
    """The same with TLS, where closing a connection would wait for the other side's goodbye."""
    with redis_server(tls=True) as server:
        async with opened(server.url) as store:
            assert list(await asyncio.gather(stored(store), stored(store), add(store)))[2] == 1
            server.pause()
            with hasty(store):
                await refused(store, "did not answer in time")
            server.resume()
            assert await recovered(store) in {2, 3}


async def test_killed_and_started_again(server: RedisServer) -> None:
    """A Redis that is gone: refused at once; when it is back with its data, so are we."""
    async with opened(server.url) as store:
        assert await asyncio.gather(*(add(store) for _ in range(50))) == list(range(1, 51))
        server.kill()
        await refused(store, "cannot be reached")
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            await stored(store)
        with pytest.raises(StoreUnavailable):
            await store.ping()
        with pytest.raises(StoreUnavailable):
            await store.count("c", 1)
        server.start()
        assert await add(store) == 51
        assert await store.count("c", 60) == 1


async def test_loading() -> None:
    """A Redis that still reads its file refuses; then it is used."""
    with redis_server("--enable-debug-command", "yes", "--rdbcompression", "no") as server:
        server.command("DEBUG", "POPULATE", 3_000, "k", 2_000)
        async with opened(server.url) as store:
            assert await add(store) == 1
            server.command("SAVE")
            # It looks for commands after each key, and would take a minute for all of them.
            server.command("CONFIG", "SET", "key-load-delay", 20_000, "loading-process-events-interval-bytes", 1_024)
            with server.client(socket_timeout=None) as client:
                reload = asyncio.create_task(asyncio.to_thread(client.execute_command, "DEBUG", "RELOAD", "NOSAVE"))
                await until_async(lambda: _loading(server), "loading")
                await refused(store)
                server.command("CONFIG", "SET", "key-load-delay", 0)
                await reload
            assert await recovered(store) == 2


async def _loading(server: RedisServer) -> bool:
    return server.info().get("loading") == "1"


async def test_read_only(server: RedisServer) -> None:
    """A master made a replica refuses writes; reads go on; made a master again it accepts them."""
    async with opened(server.url) as store:
        assert await add(store) == 1
        server.command("REPLICAOF", "127.0.0.1", free_port())
        await refused(store, "Redis refuses: ")
        await probed(store, reads=False)
        assert await stored(store) == 1
        server.command("REPLICAOF", "NO", "ONE")
        assert await add(store) == 2


async def test_out_of_memory(server: RedisServer) -> None:
    """A full Redis that evicts nothing refuses writes whole; with more memory it accepts them."""
    async with opened(server.url) as store:
        assert await add(store) == 1
        server.command("CONFIG", "SET", "maxmemory", 1)
        await refused(store, "Redis refuses: ")
        await probed(store, reads=True)
        assert await stored(store) == 1
        assert await store.history("u") == [b"1"]
        server.command("CONFIG", "SET", "maxmemory", 0)
        assert await add(store) == 2


async def test_too_few_replicas_to_write(server: RedisServer) -> None:
    """min-replicas-to-write without replicas: refused whole."""
    async with opened(server.url) as store:
        server.command("CONFIG", "SET", "min-replicas-to-write", 1)
        await refused(store, "Redis refuses: ")
        await probed(store, reads=True)
        server.command("CONFIG", "SET", "min-replicas-to-write", 0)
        assert await stored(store) == 0
        assert await add(store) == 1


async def test_disk_errors(server: RedisServer, tmp_path: Path) -> None:
    """A Redis that cannot save refuses writes (MISCONF) whole."""
    async with opened(server.url) as store:
        kept = server.command("CONFIG", "GET", "dir")
        directory = kept["dir"] if isinstance(kept, dict) else kept[1]
        gone = tmp_path / "gone"
        gone.mkdir()
        server.command("CONFIG", "SET", "save", "3600 1000000")
        server.command("CONFIG", "SET", "dir", str(gone))
        gone.rmdir()
        server.command("BGSAVE")
        await until_async(lambda: _is(server.info()["rdb_last_bgsave_status"] == "err"), "a save that failed")
        await refused(store, "Redis refuses: ")
        await probed(store, reads=True)
        server.command("CONFIG", "SET", "dir", directory)
        server.command("CONFIG", "SET", "save", "")
        assert await add(store) == 1


async def test_password_changed(server: RedisServer) -> None:
    """A Redis that wants another password refuses new connections; with the old one back all is well."""
    async with opened(server.url.replace("redis://", "redis://:one@")) as store:
        server.command("CONFIG", "SET", "requirepass", "one")
        assert await add(store) == 1
        with redis.Redis(port=server.port, password="one", socket_timeout=PATIENCE_SECONDS) as admin:
            admin.config_set("requirepass", "two")
            admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await refused(store)
            with pytest.raises(StoreUnavailable) as caught:
                await stored(store)
            assert "one" not in str(caught.value)
            admin.config_set("requirepass", "one")
            assert await add(store) == 2
            admin.config_set("requirepass", "")


async def test_rights_taken(server: RedisServer) -> None:
    """An ACL user without the right to write, to a key, or at all: refused whole; with the rights back all is well."""
    server.command("ACL", "SETUSER", "oo", "on", ">pw", "~*", "+@all")
    async with opened(server.url.replace("redis://", "redis://oo:pw@")) as store:
        for number, (take, give) in enumerate(
            [("-rpush", "+rpush"), ("-@write", "+@write"), ("resetkeys", "~*"), ("-watch", "+watch"), ("off", "on")], 1
        ):
            server.command("ACL", "SETUSER", "oo", take)
            if take == "off":
                server.command("CLIENT", "KILL", "USER", "oo")
            await refused(store)
            server.command("ACL", "SETUSER", "oo", give)
            assert await add(store) == number
            assert len(await store.history("u")) == number
        server.command("ACL", "SETUSER", "oo", "-hmget")
        with pytest.raises(StoreUnavailable, match="Redis refuses: NoPermissionError"):
            await stored(store)
    server.command("ACL", "DELUSER", "oo")


async def test_least_rights(server: RedisServer) -> None:
    """These commands on these keys are all that the store needs."""
    rights = "watch|multi|exec|discard|hget|hmget|hgetall|hset|sadd|smembers|del|llen|lrange|rpush|ltrim|get|set"
    rights += "|append|expire|incr|ping|wait"
    rights += "|zscore|zrem|time"  # a reset takes the user out of the index of those who are due, by the clock
    words = ["on", ">pw", "~oo:*", "-@all", *(f"+{name}" for name in rights.split("|"))]
    server.command("ACL", "SETUSER", "least", *words)
    async with opened(server.url.replace("redis://", "redis://least:pw@")) as store:
        assert await add(store) == 1
        await store.wipe("u", [keys.record("u", "p"), keys.history("u")])
        assert await add(store) == 1
        assert await store.history("u") == [b"1"]
        assert await store.count("oo:c", 60) == 1
        columns = Columns((("1", "0" * 16),))
        await store.shared.publish(columns)
        await store.shared.note_policies(["p"])
        await store.shared.note_used({"p": columns}, 0)
        assert await store.shared.columns(columns.fingerprint) == columns
        assert await store.shared.policies() == ["p"]
        assert len(await store.shared.last_used("p")) == 1
        await store.ping()
    server.command("ACL", "DELUSER", "least")


async def test_wait_for_replicas(server: RedisServer) -> None:
    """An update is acknowledged when enough replicas have it, and refused, though written, when they have not."""
    with redis_server("--replicaof", f"127.0.0.1 {server.port}") as replica:
        # The master sends a new replica nothing before its first acknowledgement, which comes up to a second later.
        with server.client() as client:
            until(lambda: client.set("warm", 1, px=1) and client.wait(1, 100) == 1, "replica in sync")
        async with opened(server.url, wait_replicas=1) as store:
            assert list(await asyncio.gather(add(store), add(store), add(store, "v"))) == [1, 2, 1]
            assert int(replica.command("HGET", keys.record("u", "p"), "n")) == 2
            replica.pause()
            task = asyncio.create_task(add(store))
            await waits_in_vain(server)
            with pytest.raises(StoreUnavailable, match="too few Redis replicas have it"):
                await task
            replica.resume()
            assert await recovered(store) == 4
            replica.kill()
            with hasty(store):  # Redis' own time for WAIT is up, or that of the store
                await refused(store, "too few|did not answer in time")
            server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    server.command("CONFIG", "RESETSTAT")


async def test_killed_while_waiting_for_replicas(server: RedisServer) -> None:
    """Redis dies after EXEC and before WAIT is answered: that is no acknowledgement."""
    async with opened(server.url, wait_replicas=1) as store:
        task = asyncio.create_task(add(store))
        await until_async(lambda: _is(server.info()["blocked_clients"] == "1"), "WAIT")
        assert server.command("HGET", keys.record("u", "p"), "n") == "1"
        server.kill()
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            await task
        server.start()


async def _is(condition: bool) -> bool:
    return condition


# Sentinel


@pytest.fixture(scope="module")
def sentinels() -> Iterator[Sentinels]:
    with redis_sentinel("--min-replicas-max-lag", "2", down_after_ms=NEVER_MS) as group:
        yield group


def notice(sentinels: Sentinels, milliseconds: int) -> None:
    """Have the sentinels take for down what has not answered for so long."""
    for sentinel in sentinels.sentinels:
        sentinel.command("SENTINEL", "SET", sentinels.name, "down-after-milliseconds", milliseconds)


async def test_sentinel_failover(sentinels: Sentinels) -> None:
    """The master is killed: refused in time until a replica takes over, then served without a restart. The old master
    comes back as a replica, and no write goes to it."""
    async with opened(sentinels.url) as store:
        for number in range(1, 11):
            assert await add(store) == number
        old = sentinels.master
        with old.client(single_connection_client=True) as client:  # WAIT speaks of what this connection wrote
            until(lambda: client.set("last", 1) and client.wait(1, 1_000), "all of it on the replica")
        old.kill()
        await refused(store)
        notice(sentinels, 500)
        assert await recovered(store) == 11
        until(lambda: sentinels.master is not old, "the first sentinel told")
        notice(sentinels, NEVER_MS)
        old.start()
        assert await add(store) == 12
        assert await stored(store) == 12


async def test_sentinel_that_hangs(sentinels: Sentinels) -> None:
    """One sentinel frozen, another gone: the third tells the master, in time."""
    first, second, _ = sentinels.sentinels
    first.pause()
    second.kill()
    try:
        # A quarter of it is spent on the frozen one, and the rest is enough.
        async with opened(sentinels.url, seconds=12) as store:
            await add(store, "v")
    finally:
        first.resume()
        second.start()


async def test_sentinel_that_knows_no_such_name(sentinels: Sentinels) -> None:
    """A service name that no sentinel knows is refused in time."""
    async with opened(sentinels.url.replace("mymaster", "other")) as store:
        await refused(store, "cannot be reached")


async def test_sentinel_with_users(sentinels: Sentinels) -> None:
    """Sentinels and servers may want different users."""
    for sentinel in sentinels.sentinels:
        sentinel.command("ACL", "SETUSER", "asker", "on", ">s@p", "~*", "&*", "+@all")
    for server in sentinels.servers:
        server.command("ACL", "SETUSER", "oo", "on", ">o:p", "~*", "+@all")
    url = sentinels.url.replace("://", "://oo:o%3Ap@") + "?sentinel_username=asker&sentinel_password=s%40p"
    async with opened(url) as store:
        await add(store, "w")
        for server in sentinels.servers:
            server.command("ACL", "DELUSER", "oo")
        await refused(store)


# Cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with redis_cluster("--cluster-require-full-coverage", "no") as cluster:
        yield cluster


async def test_cluster_users_on_all_nodes(cluster: Cluster) -> None:
    """Users live on different nodes; each is counted exactly, by several replicas."""
    async with opened(cluster.url) as store, opened(cluster.url) as other:
        users = [f"all{number}" for number in range(30)]
        await asyncio.gather(*(add(one, user) for one in (store, other) for _ in range(3) for user in users))
        assert [await stored(store, user) for user in users] == [6] * 30
        assert all(node.command("DBSIZE") for node in cluster.masters)
        await store.ping()


async def test_cluster_slot_migrates(cluster: Cluster) -> None:
    """While a slot moves its users wait or are refused in time (ASK, TRYAGAIN); when it has moved (MOVED) they are
    served by the new node, without a restart and without a loss."""
    user = "moving"
    async with opened(cluster.url) as store, opened(cluster.url) as idle:
        assert await add(store, user) == 1
        assert await add(idle, user) == 2
        slot, source = cluster.slot(keys.record(user, "p")), cluster.owner(keys.record(user, "p"))
        target = next(node for node in cluster.masters if node is not source)
        ids = {node: name for name, node in cluster.ids.items()}
        target.command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source])
        source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target])
        source.command("MIGRATE", "127.0.0.1", target.port, keys.record(user, "p"), 0, 60_000)
        with hasty(store), pytest.raises(StoreUnavailable, match="Redis"):
            await add(store, user)
        waiting = asyncio.create_task(add(store, user))
        while left := source.command("CLUSTER", "GETKEYSINSLOT", slot, 100):
            source.command("MIGRATE", "127.0.0.1", target.port, "", 0, 60_000, "KEYS", *left)
        await asyncio.sleep(0)
        for node in (target, source, *cluster.masters):
            node.command("CLUSTER", "SETSLOT", slot, "NODE", ids[target])
        assert await waiting == 3
        assert await add(idle, user) == 4  # its first word is MOVED
        assert await stored(idle, user) == 4
        assert await store.history(user) == [b"1", b"2", b"3", b"4"]


async def test_cluster_node_restarts(cluster: Cluster) -> None:
    """A node that is gone: its users are refused in time, others are served; back, all are."""
    async with opened(cluster.url) as store:
        users = {cluster.owner(keys.record(f"n{number}", "p")): f"n{number}" for number in range(50)}
        for user in users.values():
            assert await add(store, user) == 1
        (gone, user), (_, other), *_ = users.items()
        gone.kill()
        with pytest.raises(StoreUnavailable):
            await add(store, user)
        assert await recovered(store, user=other) == 2
        gone.start()
        assert await recovered(store, user=user) >= 1
        until(cluster.settled, "cluster settled")


async def test_cluster_node_frozen(cluster: Cluster) -> None:
    """A node that hangs holds up its own users only, and them no longer than their time."""
    async with opened(cluster.url) as store:
        users = {cluster.owner(keys.record(f"f{number}", "p")): f"f{number}" for number in range(50)}
        for user in users.values():
            await add(store, user)
        (frozen, user), (_, other), *_ = users.items()
        frozen.pause()
        try:
            with hasty(store):
                task = asyncio.create_task(add(store, user))
                await until_async(lambda: _is(len(waited_for(store, frozen)) == 1), "the node asked")
            assert await add(store, other) == 2
            with pytest.raises(StoreUnavailable):
                await task
            assert await recovered(store, user=other) >= 3
        finally:
            frozen.resume()
        assert await recovered(store, user=user) in {2, 3, 4}
        until(cluster.settled, "cluster settled")


def waited_for(store: Store, node: RedisServer) -> list[object]:
    """The connections to a node of a cluster that are in use."""
    found = store._servers._nodes.nodes_cache[f"127.0.0.1:{node.port}"]  # type: ignore[attr-defined]
    return [connection for connection in found._connections if connection not in found._free]


async def test_cluster_node_frozen_under_load(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many want a node that hangs, one at a time waits for it: others are served, and the service is ready."""
    async with opened(cluster.url) as store:
        servers = store._servers
        assert isinstance(servers, Masters)
        [frozen, healthy] = cluster.masters[:2]
        users = [user for user in map("l{}".format, range(1_000)) if cluster.owner(keys.record(user, "p")) is frozen]
        other = next(user for user in map("o{}".format, range(1_000)) if cluster.owner(keys.history(user)) is healthy)
        await asyncio.gather(*(add(store, user) for user in (users[0], other)))
        # Whoever was not answered found that out in too short a time; and the node's rest ends when the test says so.
        servers._hangs = 0.0
        monkeypatch.setattr("state.redis.cluster._REST", 3_600.0)
        frozen.pause()
        try:
            with hasty(store):
                await refused(store, "in time", user=users[0])
            [name] = servers._hanging
            servers._hanging[name] = 0.0
            asked = [asyncio.create_task(add(store, user)) for user in users[:200]]
            assert await add(store, other) == 2
            await until_async(lambda: _is(sum(task.done() for task in asked) == 199), "all but one refused")
            assert {type(task.exception()) for task in asked if task.done()} == {StoreUnavailable}
            assert len(waited_for(store, frozen)) == 1
            for _ in range(6):
                await store.ping()
        finally:
            frozen.resume()
        [patient] = [task for task in asked if not task.done()]
        assert await patient >= 1
        assert await recovered(store, user=users[0]) >= 2
        until(cluster.settled, "cluster settled")


async def test_cluster_whose_nodes_all_moved(cluster: Cluster) -> None:
    """When none of the nodes known last is there any more, the nodes of the URL are asked again."""
    async with opened(cluster.url) as store:
        assert await recovered(store, user="moved") == 1
        nodes = store._servers._nodes  # type: ignore[attr-defined]
        await nodes.aclose("startup_nodes")
        nodes.startup_nodes.clear()
        await store._servers.refresh()
        assert await add(store, "moved") == 2


async def test_cluster_that_is_none(server: RedisServer) -> None:
    """A server without cluster mode, or no server at all, is refused in time."""
    for port in (server.port, free_port()):
        async with opened(f"redis+cluster://127.0.0.1:{port}") as store:
            await refused(store, "cannot be reached")


async def test_cluster_that_is_no_more() -> None:
    """Nodes that were taken out of their cluster: refused, also to who only asks whether any of them is there."""
    with redis_cluster(masters=1) as cluster:
        async with opened(cluster.url) as store:
            await store.ping()
            cluster.masters[0].command("CLUSTER", "RESET", "HARD")

            async def forgotten() -> bool:
                with suppress(StoreUnavailable):
                    await add(store)
                return not store._servers._nodes.nodes_cache  # type: ignore[attr-defined]

            await until_async(forgotten, "no node known")
            with pytest.raises(StoreUnavailable, match="cannot be reached"):
                await store.ping()


async def test_cluster_with_a_gap(server: RedisServer) -> None:
    """A slot that no node serves: refused in time, other slots are served."""
    with redis_cluster(masters=1) as cluster:
        node = cluster.masters[0]
        node.command("CONFIG", "SET", "cluster-require-full-coverage", "no")
        node.command("CLUSTER", "DELSLOTS", cluster.slot(keys.record("gap", "p")))
        async with opened(cluster.url) as store:
            assert await add(store, "elsewhere") == 1
            with pytest.raises(StoreUnavailable):
                await add(store, "gap")
            node.command("CLUSTER", "ADDSLOTS", cluster.slot(keys.record("gap", "p")))
            assert await recovered(store, user="gap") == 1


# A cluster with users and TLS


async def test_cluster_with_a_user() -> None:
    """A cluster that wants an ACL user, with no more than the store's rights and CLUSTER SLOTS."""
    rights = "watch|multi|exec|discard|hmget|hset|del|llen|lrange|rpush|ltrim|get|set|append|expire|incr|ping|wait"
    with redis_cluster(masters=2) as cluster:
        words = ["on", ">p@ss", "~oo:*", "-@all", "+cluster|slots", *(f"+{name}" for name in rights.split("|"))]
        for node in cluster.masters:
            node.command("ACL", "SETUSER", "oo", *words)
        async with opened(cluster.url.replace("://", "://oo:p%40ss@")) as store:
            users = [f"u{number}" for number in range(10)]
            assert await asyncio.gather(*(add(store, user) for user in users)) == [1] * 10
            for node in cluster.masters:
                node.command("ACL", "SETUSER", "oo", "off")
                node.command("CLIENT", "KILL", "USER", "oo")
            await refused(store)
            for node in cluster.masters:
                node.command("ACL", "SETUSER", "oo", "on")
            assert await recovered(store, user="u0") == 2
