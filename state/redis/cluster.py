"""The masters of a Redis Cluster: which one has a key, which one hangs, and where they are now."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import count
from typing import Final

from redis.asyncio import RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import AbstractConnection
from redis.cluster import PRIMARY
from redis.exceptions import ConnectionError, RedisClusterException, RedisError, ResponseError  # noqa: A004
from redis.exceptions import TimeoutError as ConnectTimeout

from state.redis.servers import Lend, fresh_connection

__all__ = ["Cluster"]

_SLOTS: Final = 16_384
# Seconds in which a node that hangs is tried only once, and between two searches for the nodes.
_REST: Final = 0.5
_LOOK: Final = 0.1
# Likewise for a cluster without replicas: once one is added, writes must wait for it.
_LOOK_FOR_REPLICAS: Final = 10.0


class Cluster:
    """The masters behind `cluster`, found through the `seeds`; a transaction is within the slot of one user.

    At most `size` connections are lent at once, each for `timeout` (seconds) at most. A node that hangs must not use
    them up: once it has not answered for half of that, only one caller at a time tries it.
    """

    spans_users = False

    def __init__(self, cluster: RedisCluster, seeds: Sequence[tuple[str, int]], size: int, timeout: float) -> None:
        self._slot = cluster.keyslot
        self._nodes = cluster.nodes_manager
        self._seeds = seeds
        self._free = asyncio.Semaphore(size)
        self._hangs = timeout / 2  # a rate limit or a probe gives up sooner, and proves nothing
        self._known = False
        self._doubted = False
        self._looked = 0.0
        self._looking: asyncio.Task[None] | None = None
        self._hanging: dict[str, float] = {}
        self._turns = count()
        # Once true it stays: a master whose replica has failed waits for one to come back.
        self.replicated = False

    @asynccontextmanager
    async def connection(self, key: str, *, insist: bool = False) -> AsyncIterator[AbstractConnection]:
        async with self._free:
            try:
                if not self._known:
                    await self._find()
                elif self._doubted or (
                    not self.replicated and asyncio.get_running_loop().time() >= self._looked + _LOOK_FOR_REPLICAS
                ):
                    self._look_again()
                node = self._nodes.get_node_from_slot(self._slot(key)) if key else self._any()
            except (RedisClusterException, LookupError) as error:
                raise ConnectionError("no node of the cluster is known to serve the key") from error
            async with self._lent(node, insist=insist) as connection:
                yield connection

    async def masters(self) -> Mapping[str, Lend]:
        slots = await self._shares()
        nodes = {master.name: master for master, *_ in self._nodes.slots_cache.values()}
        if sum(map(len, slots.values())) < _SLOTS:
            raise ConnectionError("a part of the cluster's keys has no server")
        return {f"{name} {hash(tuple(sorted(slots[name])))}": partial(self._lent, nodes[name]) for name in nodes}

    async def slots(self) -> Sequence[Sequence[int]]:
        return list((await self._shares()).values())

    async def _shares(self) -> dict[str, list[int]]:
        """The slots of each master by its name, as they are now."""
        async with self._free:
            try:
                await self._find()
            except (RedisClusterException, LookupError) as error:
                raise ConnectionError("no node of the cluster answers") from error
        slots: dict[str, list[int]] = {}
        for slot, (master, *_) in self._nodes.slots_cache.items():
            slots.setdefault(master.name, []).append(slot)
        return slots

    def _any(self) -> ClusterNode:
        """The masters in turn, those that hang only if all do."""
        masters = self._nodes.get_nodes_by_server_type(PRIMARY)
        if not masters:
            raise LookupError
        answering = [master for master in masters if master.name not in self._hanging] or masters
        return answering[next(self._turns) % len(answering)]

    @asynccontextmanager
    async def _lent(self, node: ClusterNode, *, insist: bool = False) -> AsyncIterator[AbstractConnection]:
        now = asyncio.get_running_loop().time
        started = now()
        if not insist and node.name in self._hanging:
            if started < self._hanging[node.name]:
                raise TimeoutError("the node did not answer a moment ago")
            self._hanging[node.name] = started + _REST
        connection = node.acquire_connection()
        patience = connection.socket_timeout
        try:
            async with fresh_connection(connection):
                connection.socket_timeout = None  # the store limits the time of a whole exchange
                yield connection
            self._hanging.pop(node.name, None)
        except ResponseError:
            self._hanging.pop(node.name, None)  # an answer: it does not hang
            raise
        except (asyncio.CancelledError, ConnectTimeout) as error:
            # ConnectTimeout is from redis-py's own limit for connecting.
            if isinstance(error, ConnectTimeout) or now() >= started + self._hangs:
                self._hanging[node.name] = now() + _REST
            raise
        finally:
            connection.socket_timeout = patience
            node.release(connection)

    async def refresh(self) -> None:
        self._doubted = True

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])
        for group in ("startup_nodes", "nodes_cache"):
            with suppress(RedisError, OSError):
                await self._nodes.aclose(group)

    def _look_again(self) -> None:
        """Search for the nodes in the background, since it may have to wait for one that hangs."""
        loop = asyncio.get_running_loop()
        if (self._looking is None or self._looking.done()) and loop.time() >= self._looked + _LOOK:
            self._doubted = False
            self._looking = loop.create_task(self._look())

    async def _look(self) -> None:
        try:
            await self._find()
        except Exception:  # noqa: BLE001  # whatever failed, the known nodes can still be used
            self._doubted = True
        self._looked = asyncio.get_running_loop().time()

    async def _find(self) -> None:
        """Ask the known nodes and those of the URL: after a restart all may have other addresses."""
        seeds = [ClusterNode(host, port, **self._nodes.connection_kwargs) for host, port in self._seeds]
        self._nodes.set_nodes(self._nodes.startup_nodes, {node.name: node for node in seeds})
        await self._nodes.initialize(last_failed_node_name=next(iter(self._hanging), None))
        self._hanging = {name: until for name, until in self._hanging.items() if name in self._nodes.nodes_cache}
        self._known = True
        self._looked = asyncio.get_running_loop().time()
        self.replicated |= any(len(nodes) > 1 for nodes in self._nodes.slots_cache.values())
