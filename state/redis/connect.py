"""From REDIS_URL to servers: a single one, Sentinel, Cluster, or the embedded store.

The store sees only `Servers`, which lends a connection to the server of a key. redis-py's own retries are off: a
command that it sends again may be applied twice.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from typing import Any, Final
from urllib.parse import parse_qs, unquote

from fakeredis import FakeAsyncRedis, FakeServer
from redis.asyncio import ConnectionPool, Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import AbstractConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException, RedisError
from redis.maint_notifications import MaintNotificationsConfig

from state.redis.addresses import addresses, split
from state.redis.cluster import Cluster
from state.redis.exchange import exchange
from state.redis.servers import Lend, Servers, freshen, give_up

__all__ = ["open_servers", "place"]

# The embedded store removes expired keys once in so many exchanges.
_SWEEP: Final = 256


class _Single:
    """One server that takes all writes: at an address, found through Sentinel, or embedded.

    `pool` only makes connections: borrowing from it costs more than an exchange, and closing its idle connections waits
    for servers that no longer answer.
    """

    spans_users = True

    def __init__(self, pool: ConnectionPool, size: int, sentinels: Sequence[Redis] = ()) -> None:
        self._pool = pool
        self._sentinels = sentinels
        self._free = asyncio.Semaphore(size)
        # Made now, so that unknown options are refused at the start.
        self._idle: list[AbstractConnection] = [self._make()]

    def connection(self, key: str, *, insist: bool = False) -> AbstractAsyncContextManager[AbstractConnection]:
        return _Loan(self)

    async def take(self) -> AbstractConnection:
        """A live connection, after waiting for one if all are in use."""
        await self._free.acquire()
        connection = self._idle.pop() if self._idle else self._make()
        if self._sentinels and not connection.is_connected:
            connection.host = ""  # the sentinels set it again; until then an error must not name the old one
        try:
            await freshen(connection)
        except BaseException:
            self.give_back(connection)
            raise
        return connection

    def give_back(self, connection: AbstractConnection) -> None:
        """Let others have a connection that was taken."""
        self._idle.append(connection)
        self._free.release()

    @property
    def replicated(self) -> bool:
        """Whether Sentinel may make a replica the master; of a single address it is not known."""
        return bool(self._sentinels)

    async def masters(self) -> Mapping[str, Lend]:
        return {"": partial(self.connection, "")}

    async def slots(self) -> Sequence[Sequence[int]]:
        return []

    async def refresh(self) -> None:
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.disconnect(nowait=True)

    async def close(self) -> None:
        for connection in self._idle:
            with suppress(RedisError, OSError):
                await connection.disconnect()
        for sentinel in self._sentinels:
            with suppress(RedisError, OSError):
                await sentinel.aclose()

    def _make(self) -> AbstractConnection:
        connection: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py
        return connection


class _Loan(AbstractAsyncContextManager[AbstractConnection]):
    """A connection for the time of a block; a generator would cost each exchange four times as much."""

    def __init__(self, servers: _Single) -> None:
        self._servers = servers

    async def __aenter__(self) -> AbstractConnection:
        self._connection = await self._servers.take()
        return self._connection

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        try:
            if error is not None:
                await give_up(self._connection, error)
        finally:
            self._servers.give_back(self._connection)


class _Embedded(_Single):
    """fakeredis, which removes an expired key only when it is read, or when all keys are counted."""

    def __init__(self, size: int) -> None:
        super().__init__(FakeAsyncRedis(server=FakeServer()).connection_pool, size)
        self._turns = 0

    @asynccontextmanager
    async def connection(self, key: str, *, insist: bool = False) -> AsyncIterator[AbstractConnection]:
        async with super().connection(key, insist=insist) as connection:
            self._turns += 1
            if self._turns % _SWEEP == 0:
                await exchange(connection, [("DBSIZE",)])
            yield connection


_TAKES: Final = (
    "takes memory://, redis://host:port/db, rediss://host:port/db, unix:///path, "
    "redis+sentinel://host:port,host:port/service/db or redis+cluster://host:port,host:port "
    "(rediss+ for TLS); in a password, / # ? @ : , % are written %2F %23 %3F %40 %3A %2C %25"
)


def open_servers(url: str, *, size: int, timeout: float) -> Servers:
    """The servers behind `url`, with at most `size` connections. Nothing connects before it is needed.

    `timeout` (seconds) is the time of one request, including finding the master or the cluster's nodes. Raises
    ValueError for an unknown form of URL, without quoting it.
    """
    if url == "memory://":
        return _Embedded(size)
    try:
        return _open(url, size, timeout)
    except (ValueError, TypeError, RedisError, RedisClusterException):  # their texts may quote the URL
        raise ValueError(_TAKES) from None


def place(url: str) -> str:
    """Kind, addresses and database of a URL that `open_servers` takes, for the log: no credentials, no options."""
    scheme, _, rest = url.partition("://")
    kind, _, how = scheme.partition("+")
    parts = split(rest)
    database = parse_qs(parts.query).get("db", ["0"])[-1]
    if kind == "unix":
        return f"one server at the socket {unquote(parts.path)}, database {database}"
    hosts = parts.hosts.replace(",", ", ")
    tls = " over TLS" if kind == "rediss" else ""
    path = [unquote(part) for part in parts.path.split("/") if part]
    if how == "cluster":
        return f"a Cluster{tls} at {hosts}"
    if how == "sentinel":
        return f"Sentinel{tls} at {hosts}, master {path[0]}, database {(path[1:] or ['0'])[0]}"
    return f"one server{tls} at {hosts or 'localhost'}, database {(path or [database])[0]}"


def _open(url: str, size: int, timeout: float) -> Servers:
    scheme, _, rest = url.partition("://")
    kind, _, how = scheme.partition("+")
    if kind not in {"redis", "rediss", "unix"} or how not in {"", "sentinel", "cluster"} or (kind == "unix" and how):
        raise ValueError(_TAKES)
    parts = split(rest)
    path = [unquote(part) for part in parts.path.split("/") if part]
    common: dict[str, Any] = {
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
        # The store limits a whole exchange; a timer for each reply would cost more than reading it.
        "socket_timeout": None,
        "socket_connect_timeout": timeout / 2,
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        # Or Redis 7.2 and newer would log a refused CLIENT SETINFO for a user with narrow rights.
        "driver_info": None,
    }
    if not how:
        if kind == "unix" and (parts.hosts or not path):
            raise ValueError(_TAKES)
        if kind != "unix" and (
            len(addresses(parts.hosts, 6379)) > 1 or len(path) > 1 or not "".join(path or "0").isdecimal()
        ):
            raise ValueError(_TAKES)
        return _Single(ConnectionPool.from_url(url, **common), size)
    # redis-py reads credentials and options only from a URL with one host.
    options = dict(parse_url(f"{kind}://{parts.credentials}@localhost?{parts.query}"))
    options.pop("host", None)
    tls = options.pop("connection_class", None) is not None
    # A node that hangs must leave time for another one to answer.
    finding = {"socket_timeout": timeout / 4, "socket_connect_timeout": timeout / 4}
    if how == "cluster":
        if path:
            raise ValueError(_TAKES)
        seeds = addresses(parts.hosts, 6379)
        cluster = RedisCluster(
            startup_nodes=[ClusterNode(host, port) for host, port in seeds],
            max_connections=size,
            require_full_coverage=False,
            ssl=tls,
            **{**common, **finding, **options},
        )
        return Cluster(cluster, seeds, size, timeout)
    if len(path) not in {1, 2} or (len(path) == 2 and not path[1].isdecimal()):
        raise ValueError(_TAKES)
    asking = {
        name: options.pop(f"sentinel_{name}") for name in ("username", "password") if f"sentinel_{name}" in options
    }
    tls_options = {name: value for name, value in options.items() if name.startswith("ssl_")}
    manager = Sentinel(  # type: ignore[no-untyped-call]  # redis-py
        addresses(parts.hosts, 26379),
        sentinel_kwargs={**common, **finding, **asking, **tls_options, "ssl": tls},
        **common,
    )
    master = manager.master_for(path[0], ssl=tls, db=int(path[1]) if len(path) == 2 else 0, **{**common, **options})
    return _Single(master.connection_pool, size, manager.sentinels)
