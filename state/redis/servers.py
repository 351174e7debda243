"""What the store sees of Redis: the servers, and connections that they lend."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Final, Protocol

from redis.asyncio.connection import AbstractConnection, SSLConnection
from redis.exceptions import ConnectionError, RedisError  # noqa: A004  # redis-py's name

__all__ = ["Lend", "Servers", "Where", "borrow", "fresh_connection", "freshen", "give_up"]

Lend = Callable[[], AbstractAsyncContextManager[AbstractConnection]]

_FAILURES: Final = (RedisError, OSError, asyncio.CancelledError)  # a time limit cancels what it interrupts


class Servers(Protocol):
    """Where the keys live. `spans_users`: one transaction may change the keys of several users.

    `replicated`: a replica may become the master, as far as the URL and the connections lent so far tell.
    """

    spans_users: bool

    @property
    def replicated(self) -> bool: ...

    def connection(self, key: str, *, insist: bool = False) -> AbstractAsyncContextManager[AbstractConnection]:
        """Lend a live connection to the server of `key` ("": to any master), after waiting for one if all are in use.

        Raises RedisError and OSError, among them TimeoutError at once for a server that did not answer others a moment
        ago; with `insist` that server is tried all the same.
        """
        ...

    async def masters(self) -> Mapping[str, Lend]:
        """How to get a connection to each master, by a name that changes with its share of the keys.

        Raises RedisError and OSError, also if some keys have no server.
        """
        ...

    async def slots(self) -> Sequence[Sequence[int]]:
        """The slots of each master of a Cluster, as far as they have one. Raises RedisError and OSError."""
        ...

    async def refresh(self) -> None:
        """Look again where the servers are, after one failed or redirected us. Raises nothing."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


class Where(str):
    """A note on an error, for the log: the address of the server. `tls`: the error came before TLS was set up."""

    __slots__ = ("tls",)
    tls: bool


def _where(connection: AbstractConnection, *, connected: bool) -> Where:
    host, port = getattr(connection, "host", ""), getattr(connection, "port", "")
    where = Where(getattr(connection, "path", "") or (f"[{host}]:{port}" if ":" in host else host and f"{host}:{port}"))
    where.tls = isinstance(connection, SSLConnection) and not connected
    return where


@asynccontextmanager
async def fresh_connection(connection: AbstractConnection) -> AsyncIterator[None]:
    """Connect, or reconnect if the server has closed an idle connection; disconnect after any failure."""
    await freshen(connection)
    try:
        yield
    except BaseException as error:
        await give_up(connection, error)
        raise


async def freshen(connection: AbstractConnection) -> None:
    """Connect, or reconnect if the server has closed an idle connection. Its user calls `give_up` after a failure."""
    try:
        try:
            await connection.connect()  # type: ignore[no-untyped-call]  # redis-py
            if await connection.can_read():
                await connection.disconnect(nowait=True)
                await connection.connect()  # type: ignore[no-untyped-call]  # redis-py
        except (AttributeError, RuntimeError) as error:
            # redis-py stumbles when the server, or its own cluster client, closes the connection at this moment.
            raise ConnectionError("the connection was closed while it was opened") from error
    except BaseException as error:
        await give_up(connection, error, connected=False)
        raise


async def give_up(connection: AbstractConnection, error: BaseException, *, connected: bool = True) -> None:
    """Disconnect after a failure, which gets the server's address as a note.

    The connection may still watch keys, hold an open MULTI or owe replies, so it is never used again.
    """
    if isinstance(error, _FAILURES):
        error.add_note(_where(connection, connected=connected))
    await connection.disconnect(nowait=True)


@asynccontextmanager
async def borrow(
    lending: AbstractAsyncContextManager[AbstractConnection], seconds: float
) -> AsyncIterator[AbstractConnection]:
    """The connection that `lending` lends, if it does so within `seconds`; it may be used for longer."""
    async with AsyncExitStack() as stack:
        async with asyncio.timeout(seconds):
            connection = await stack.enter_async_context(lending)
        yield connection
