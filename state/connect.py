"""From REDIS_URL to connections: a single server, Sentinel, Cluster, or the embedded store.

The store sees one thing only, `Servers`, which lends a connection to where a key lives. All of redis-py's own retries
are off: a command it sends again on its own may be applied twice.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, Protocol
from urllib.parse import unquote, urlsplit

from fakeredis import FakeAsyncRedis, FakeServer
from hiredis import pack_command
from redis.asyncio import ConnectionPool, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import AbstractConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError
from redis.maint_notifications import MaintNotificationsConfig

__all__ = ["Command", "Servers", "exchange", "open_servers"]

Command = tuple[bytes | str | int, ...]


_pack: Callable[[Command], bytes] = pack_command  # type: ignore[assignment]  # its stub allows one argument only


async def exchange(connection: AbstractConnection, commands: Sequence[Command]) -> list[Any]:
    """Send all commands in one write and read all replies; an error reply stands in its place, it is not raised."""
    await connection.send_packed_command(b"".join(map(_pack, commands)), check_health=False)
    replies: list[Any] = []
    for _ in commands:
        try:
            replies.append(await connection.read_response(disable_decoding=True))
        except ResponseError as error:
            replies.append(error)
    return replies


class Servers(Protocol):
    """Where the keys live. `spans_users`: one transaction may change the keys of several users."""

    spans_users: bool

    def connection(self, key: str) -> AbstractAsyncContextManager[AbstractConnection]:
        """Lend a live connection to the server of `key`, waiting for one if all are in use.

        Raises RedisError and OSError.
        """
        ...

    async def refresh(self) -> None:
        """Look again where the servers are, after one of them failed or sent us elsewhere. Raises nothing."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


async def _ready(connection: AbstractConnection) -> None:
    """Connect, or connect anew where the server closed an idle connection meanwhile."""
    await connection.connect()  # type: ignore[no-untyped-call]  # redis-py
    if await connection.can_read():
        await connection.disconnect()
        await connection.connect()  # type: ignore[no-untyped-call]  # redis-py


class _Single:
    """One server that takes all writes: named by its address, found through Sentinel, or embedded."""

    spans_users = True

    def __init__(self, pool: ConnectionPool, size: int) -> None:
        self._pool = pool
        self._free = asyncio.Semaphore(size)

    @asynccontextmanager
    async def connection(self, key: str) -> AsyncIterator[AbstractConnection]:
        async with self._free:
            connection = self._pool.get_available_connection()  # type: ignore[no-untyped-call]  # redis-py
            try:
                await _ready(connection)
                yield connection
            finally:
                await self._pool.release(connection)

    async def refresh(self) -> None:
        await self._pool.disconnect(inuse_connections=False)

    async def close(self) -> None:
        await self._pool.aclose()


class _Cluster:
    """The masters of a Redis Cluster; a transaction lives in the slot of one user."""

    spans_users = False

    def __init__(self, cluster: RedisCluster, size: int) -> None:
        self._cluster = cluster
        self._free = asyncio.Semaphore(size)
        self._known = False

    @asynccontextmanager
    async def connection(self, key: str) -> AsyncIterator[AbstractConnection]:
        async with self._free:
            if not self._known:
                await self._cluster.initialize()
                await self._cluster.nodes_manager.initialize()
                self._known = True
            node = self._cluster.nodes_manager.get_node_from_slot(self._cluster.keyslot(key))
            connection = node.acquire_connection()
            try:
                await _ready(connection)
                yield connection
            finally:
                node.release(connection)

    async def refresh(self) -> None:
        self._known = False

    async def close(self) -> None:
        await self._cluster.aclose()


_TAKES: Final = (
    "takes memory://, redis://host:port/db, rediss://host:port/db, unix:///path, "
    "redis+sentinel://host:port,host:port/service/db or redis+cluster://host:port,host:port "
    "(rediss+ for TLS)"
)


def _addresses(netloc: str, default_port: int) -> list[tuple[str, int]]:
    """The hosts and ports of `host:port,host:port`; IPv6 addresses stand in brackets."""
    found = []
    for part in netloc.split(","):
        address = urlsplit(f"//{part}")
        if not address.hostname:
            raise ValueError(_TAKES)
        found.append((address.hostname, address.port or default_port))
    return found


def open_servers(url: str, *, size: int, timeout: float) -> Servers:
    """The servers behind `url`, with at most `size` connections. Nothing connects before it is needed.

    `timeout` (seconds) is what one request has in all; finding the master or the cluster's nodes takes a part of it.
    Raises ValueError, in words that show nothing of the URL, for one of a form that is not known.
    """
    scheme, _, rest = url.partition("://")
    kind, _, how = scheme.partition("+")
    common: dict[str, Any] = {
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
        # The store bounds a whole exchange; a timer for each reply would cost more than reading it.
        "socket_timeout": None,
        "socket_connect_timeout": timeout / 2,
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }
    if url == "memory://":
        return _Single(FakeAsyncRedis(server=FakeServer()).connection_pool, size)
    if kind not in {"redis", "rediss", "unix"} or how not in {"", "sentinel", "cluster"} or (kind == "unix" and how):
        raise ValueError(_TAKES)
    if not how:
        try:
            return _Single(ConnectionPool.from_url(url, max_connections=size, **common), size)
        except (ValueError, TypeError):
            raise ValueError(_TAKES) from None
    parts = urlsplit(f"{kind}://{rest}")
    credentials, _, netloc = parts.netloc.rpartition("@")
    path = [unquote(part) for part in parts.path.split("/") if part]
    # redis-py reads credentials and options of a URL with one host; it shall read ours too.
    options = dict(parse_url(f"{kind}://{credentials}@localhost?{parts.query}"))
    options.pop("host", None)
    tls = options.pop("connection_class", None) is not None
    # A node that hangs must not use up the time in which another one could have answered.
    finding = {"socket_timeout": timeout / 4, "socket_connect_timeout": timeout / 4}
    if how == "cluster":
        if path:
            raise ValueError(_TAKES)
        return _Cluster(
            RedisCluster(
                startup_nodes=[ClusterNode(host, port) for host, port in _addresses(netloc, 6379)],
                max_connections=size,
                require_full_coverage=False,
                ssl=tls,
                **{**common, **finding, **options},
            ),
            size,
        )
    if len(path) not in {1, 2} or (len(path) == 2 and not path[1].isdecimal()):
        raise ValueError(_TAKES)
    asking = {
        name: options.pop(f"sentinel_{name}") for name in ("username", "password") if f"sentinel_{name}" in options
    }
    tls_options = {name: value for name, value in options.items() if name.startswith("ssl_")}
    manager = Sentinel(  # type: ignore[no-untyped-call]  # redis-py
        _addresses(netloc, 26379),
        sentinel_kwargs={**common, **finding, **asking, **tls_options, "ssl": tls},
        **common,
    )
    master = manager.master_for(
        path[0], max_connections=size, ssl=tls, db=int(path[1]) if len(path) == 2 else 0, **{**common, **options}
    )
    return _Single(master.connection_pool, size)
