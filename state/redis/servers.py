"""What the store sees of Redis: connections lent to where a key lives, and one exchange over them at a time."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, Protocol

from hiredis import pack_command
from redis.asyncio.connection import AbstractConnection, SSLConnection
from redis.exceptions import ConnectionError, RedisError, ResponseError  # noqa: A004

__all__ = ["Command", "Lend", "Servers", "Where", "exchange", "whole"]

Command = tuple[bytes | str | int, ...]
Lend = Callable[[], AbstractAsyncContextManager[AbstractConnection]]

_FAILURES: Final = (RedisError, OSError, asyncio.CancelledError)  # a time limit cancels what it cuts short

_pack: Callable[[Command], bytes] = pack_command  # type: ignore[assignment]  # its stub allows one argument only


async def exchange(connection: AbstractConnection, commands: Sequence[Command]) -> list[Any]:
    """Send all commands in one write and read all replies; an error reply stands in its place, it is not raised."""
    if not connection.is_connected:
        # redis-py would open it anew, and what was watched or begun on it would be gone without a word.
        raise ConnectionError("the connection was closed")
    replies: list[Any] = []
    try:
        await connection.send_packed_command(b"".join(map(_pack, commands)), check_health=False)
        for _ in commands:
            try:
                replies.append(await connection.read_response(disable_decoding=True))
            except ResponseError as error:
                replies.append(error)
    except RuntimeError as error:  # uvloop's word for a transport that was closed, which redis-py does not know
        raise ConnectionError("the connection was closed meanwhile") from error
    return replies


class Servers(Protocol):
    """Where the keys live. `spans_users`: one transaction may change the keys of several users.

    `replicated`: a replica may become the master, as far as the URL and the connections lent so far tell.
    """

    spans_users: bool

    @property
    def replicated(self) -> bool: ...

    def connection(self, key: str, *, insist: bool = False) -> AbstractAsyncContextManager[AbstractConnection]:
        """Lend a live connection to the server of `key` ("": to any that takes writes), waiting for one if all are in
        use.

        Raises RedisError and OSError, TimeoutError among them at once for a server that others have just waited for in
        vain, unless the caller must `insist`.
        """
        ...

    async def masters(self) -> Mapping[str, Lend]:
        """How to get a connection to each server that takes writes, by a name that changes with its share of the keys.

        Raises RedisError and OSError, also if there is a key that no server has.
        """
        ...

    async def refresh(self) -> None:
        """Look again where the servers are, after one of them failed or sent us elsewhere. Raises nothing."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


class Where(str):
    """A note on an error: the address of the server it came from, for the log. `tls`: in the TLS handshake, or
    before it."""

    __slots__ = ("tls",)
    tls: bool


def _where(connection: AbstractConnection, *, connected: bool) -> Where:
    host, port = getattr(connection, "host", ""), getattr(connection, "port", "")
    where = Where(getattr(connection, "path", "") or (f"[{host}]:{port}" if ":" in host else host and f"{host}:{port}"))
    where.tls = isinstance(connection, SSLConnection) and not connected
    return where


@asynccontextmanager
async def whole(connection: AbstractConnection) -> AsyncIterator[None]:
    """Connect, or connect anew where the server closed an idle connection meanwhile; disconnect after any failure.

    A connection on which something went wrong may still watch keys, hold a MULTI open or owe replies. Its address goes
    with the error, as a note.
    """
    connected = False
    try:
        try:
            await connection.connect()  # type: ignore[no-untyped-call]  # redis-py
            if await connection.can_read():
                await connection.disconnect(nowait=True)
                await connection.connect()  # type: ignore[no-untyped-call]  # redis-py
        except (AttributeError, RuntimeError) as error:
            # A server that is killed, or a cluster client, which closes idle connections of nodes that are gone.
            raise ConnectionError("the connection was closed while it was opened") from error
        connected = True
        yield
    except BaseException as error:
        if isinstance(error, _FAILURES):
            error.add_note(_where(connection, connected=connected))
        await connection.disconnect(nowait=True)
        raise
