"""The masters of a cluster, without one: which is taken for a key, and what becomes of one that hangs."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from redis.exceptions import ClusterDownError, ConnectionError, MovedError, RedisClusterException, ResponseError  # noqa: A004  # redis-py's
from redis.exceptions import TimeoutError as ConnectTimeout

from state.redis import cluster as module
from state.redis.cluster import Cluster

pytestmark = pytest.mark.anyio

SLOTS = 16_384


class Line:
    host, port = "h", 1

    def __init__(self) -> None:
        self.socket_timeout: float | None = 9.0

    async def connect(self) -> None: ...

    async def can_read(self) -> bool:
        return False

    async def disconnect(self, *, nowait: bool = False) -> None: ...


class Node:
    def __init__(self, name: str) -> None:
        self.name = name
        self.line = Line()
        self.lent = 0

    def acquire_connection(self) -> Line:
        self.lent += 1
        return self.line

    def release(self, connection: Line) -> None:
        self.lent -= 1


class Nodes:
    """Stands for redis-py's NodesManager: some masters, which share the slots."""

    def __init__(self, *masters: Node, replicas: int = 0) -> None:
        self.connection_kwargs: dict[str, Any] = {}
        self.startup_nodes: dict[str, Any] = {}
        self.nodes_cache = {node.name: node for node in masters}
        self.masters = list(masters)
        self.replicas = replicas
        self.slots_cache: dict[int, list[Node]] = {}
        self.asked = 0
        self.fails: Callable[[], Awaitable[None]] | None = None
        self.moved: Callable[[], object] = bool

    def share(self) -> None:
        spare = [Node(f"r{number}") for number in range(self.replicas)]
        self.slots_cache = {slot: [self.masters[slot % len(self.masters)], *spare] for slot in range(SLOTS)}
        self.moved()

    def set_nodes(self, old: dict[str, Any], new: dict[str, Any]) -> None:
        old.update(new)

    async def initialize(self, last_failed_node_name: str | None = None) -> None:
        self.asked += 1
        if self.fails is not None:
            await self.fails()
        self.share()

    def get_node_from_slot(self, slot: int) -> Node:
        return self.slots_cache[slot][0]

    def get_nodes_by_server_type(self, _: str) -> list[Node]:
        return self.masters

    async def aclose(self, group: str) -> None: ...


class Client:
    def __init__(self, nodes: Nodes) -> None:
        self.nodes_manager = nodes

    def keyslot(self, key: str) -> int:
        return int(key)


def clustered(nodes: Nodes, size: int = 4, timeout: float = 1.0) -> Cluster:
    return Cluster(Client(nodes), [], size, timeout)  # type: ignore[arg-type]  # stand-ins


async def served(cluster: Cluster, key: str, error: BaseException | None = None, *, insist: bool = False) -> Any:
    async with cluster.connection(key, insist=insist) as connection:
        if error is not None:
            raise error
        return connection


async def test_a_key_leads_to_the_master_of_its_slot() -> None:
    """Its connection is lent without redis-py's limit of each read, and given back with it."""
    a, b = Node("a"), Node("b")
    nodes = Nodes(a, b)
    cluster = clustered(nodes)
    async with cluster.connection("3"):
        inside = [b.line.socket_timeout, a.lent, b.lent]
    assert inside == [None, 0, 1]
    assert (b.line.socket_timeout, b.lent) == (9.0, 0)
    assert await served(cluster, "4") is a.line
    assert nodes.asked == 1


async def test_any_master_in_turn() -> None:
    """Without a key the masters take turns, without those that hang as long as another is left."""
    a, b = Node("a"), Node("b")
    cluster = clustered(Nodes(a, b))
    assert {await served(cluster, "") for _ in range(2)} == {a.line, b.line}
    with pytest.raises(ConnectTimeout):
        await served(cluster, "0", ConnectTimeout())
    assert {await served(cluster, "") for _ in range(4)} == {b.line}


async def test_a_node_that_hangs_is_refused_to_others() -> None:
    """For a while it is refused at once; whoever insists tries it, and an answer ends that."""
    a = Node("a")
    cluster = clustered(Nodes(a))
    with pytest.raises(ConnectTimeout):
        await served(cluster, "0", ConnectTimeout())
    with pytest.raises(TimeoutError, match="a moment ago"):
        await served(cluster, "0")
    assert await served(cluster, "0", insist=True) is a.line
    assert await served(cluster, "0") is a.line


async def test_after_its_rest_one_tries_a_node_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first after the rest is let through, and the others are refused meanwhile."""
    a = Node("a")
    cluster = clustered(Nodes(a))
    with pytest.raises(ConnectTimeout):
        await served(cluster, "0", ConnectTimeout())
    cluster._hanging["a"] = 0.0
    async with cluster.connection("0"):
        with pytest.raises(TimeoutError):
            await served(cluster, "0")
    assert await served(cluster, "0") is a.line


@pytest.mark.parametrize(("seconds", "hangs"), [(0.0, True), (3_600.0, False)])
async def test_one_that_gave_up_early_proves_nothing(seconds: float, hangs: bool) -> None:
    """A caller cut off before half of its time says nothing of the node."""
    cluster = clustered(Nodes(Node("a")), timeout=seconds)
    with pytest.raises(asyncio.CancelledError):
        await served(cluster, "0", asyncio.CancelledError())
    assert ("a" in cluster._hanging) == hangs


async def test_an_error_reply_is_an_answer() -> None:
    """A node that refuses does not hang."""
    cluster = clustered(Nodes(Node("a")))
    await served(cluster, "0")
    cluster._hanging["a"] = 0.0
    with pytest.raises(ResponseError):
        await served(cluster, "0", MovedError("1 h:2"))
    assert cluster._hanging == {}


async def test_no_node_for_a_key() -> None:
    """A gap in the slots, a cluster without masters and one that does not answer are failed connections."""
    nodes = Nodes(Node("a"))
    cluster = clustered(nodes)
    await served(cluster, "0")
    del nodes.slots_cache[7]
    with pytest.raises(ConnectionError, match="no node"):
        await served(cluster, "7")
    nodes.masters.clear()
    with pytest.raises(ConnectionError, match="no node"):
        await served(cluster, "")

    async def down() -> None:
        raise ClusterDownError("down")

    nodes.fails = down
    with pytest.raises(ResponseError):
        await clustered(nodes).masters()

    async def nowhere() -> None:
        raise RedisClusterException("no startup node can be reached")

    nodes.fails = nowhere
    with pytest.raises(ConnectionError, match="no node of the cluster answers"):
        await clustered(nodes).masters()
    with pytest.raises(ConnectionError, match="no node of the cluster is known"):
        await served(clustered(nodes), "0")


async def test_masters_by_their_share() -> None:
    """Each master once, under a name that changes when its slots do; a gap is an error."""
    a, b = Node("a"), Node("b")
    nodes = Nodes(a, b)
    cluster = clustered(nodes)
    before = await cluster.masters()
    assert sorted(name.split()[0] for name in before) == ["a", "b"]
    assert (await cluster.masters()).keys() == before.keys()
    async with next(iter(before.values()))():
        assert a.lent + b.lent == 1
    nodes.moved = lambda: nodes.slots_cache.update({0: [b]})
    assert not (await cluster.masters()).keys() & before.keys()

    nodes.moved = lambda: nodes.slots_cache.pop(0)
    with pytest.raises(ConnectionError, match="a part of the cluster's keys has no server"):
        await cluster.masters()


async def test_looked_for_again_after_a_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failure the nodes are looked for in the background; if that fails, again with the next request."""
    monkeypatch.setattr(module, "_LOOK", 0.0)
    nodes = Nodes(Node("a"), replicas=1)
    cluster = clustered(nodes)
    await served(cluster, "0")
    assert cluster.replicated
    await served(cluster, "0")
    assert nodes.asked == 1

    async def away() -> None:
        raise OSError

    nodes.fails = away
    await cluster.refresh()
    await served(cluster, "0")
    assert cluster._looking is not None
    await cluster._looking
    nodes.fails = None
    monkeypatch.setattr(module, "_LOOK", 3_600.0)
    await served(cluster, "0")  # not yet: a cluster that is down is not asked all the time
    assert cluster._looking.done()
    monkeypatch.setattr(module, "_LOOK", 0.0)
    await served(cluster, "0")
    await cluster._looking
    await served(cluster, "0")
    assert nodes.asked == 3
    await cluster.close()


async def test_a_replica_added_later_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster without replicas is looked at again from time to time, and once it has one, writes wait for it."""
    nodes = Nodes(Node("a"))
    cluster = clustered(nodes)
    await served(cluster, "0")
    assert [cluster.replicated] == [False]
    nodes.replicas = 1
    cluster._looked -= 10.0
    await served(cluster, "0")
    assert cluster._looking is not None
    await cluster._looking
    assert cluster.replicated
    nodes.replicas = 0
    await cluster._find()
    assert cluster.replicated  # a master whose replica is away waits for it


async def test_close_ends_a_search() -> None:
    """A search in the background does not outlive the service."""
    nodes = Nodes(Node("a"))
    cluster = clustered(nodes)
    await served(cluster, "0")

    async def hang() -> None:
        await asyncio.Event().wait()

    nodes.fails = hang
    cluster._looked -= 10.0
    await cluster.refresh()
    await served(cluster, "0")
    await asyncio.sleep(0)
    await cluster.close()
    assert cluster._looking is not None
    assert cluster._looking.cancelled()
