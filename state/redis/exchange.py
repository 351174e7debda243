"""One exchange with Redis: several commands in one write, and all of their replies.

An error reply is a reply. `exchange` returns it in its place; `exchange_or_raise` raises it, unless it is about one key
only. Neither tries again: that is up to callers, who know whether a command may be repeated.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

from hiredis import PushNotification, Reader, pack_command
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError, ResponseError  # noqa: A004  # redis-py's names

try:
    from redis._parsers.hiredis import NOT_ENOUGH_DATA
except ImportError:  # then every reply is read in redis-py's public way
    NOT_ENOUGH_DATA = None

__all__ = ["Command", "exchange", "exchange_or_raise", "raise_for"]

Command = tuple[bytes | str | int, ...]

_pack: Final[Callable[[Command], bytes]] = pack_command  # type: ignore[assignment]  # its stub allows one argument only


async def exchange(connection: AbstractConnection, commands: Sequence[Command]) -> list[Any]:
    """The replies to all `commands`, error replies included. Raises RedisError and OSError for a failed connection."""
    if not connection.is_connected:
        # redis-py would connect again, and silently lose what was watched or begun on the old connection.
        raise ConnectionError("the connection was closed")
    replies: list[Any] = []
    try:
        await connection.send_packed_command(b"".join(map(_pack, commands)), check_health=False)
        while len(replies) < len(commands):
            try:
                replies.append(await connection.read_response(disable_decoding=True))
            except ResponseError as error:
                replies.append(error)
            _take_arrived(connection, replies, len(commands))
    except RuntimeError as error:  # what uvloop raises for a closed transport; redis-py does not expect it
        raise ConnectionError("the connection was closed meanwhile") from error
    return replies


def _take_arrived(connection: AbstractConnection, replies: list[Any], wanted: int) -> None:
    """Add the replies that came in the same read, until there are `wanted`, straight from the parser of redis-py 8.1.

    It has no public way to them but `read_response`, at many times the cost. A connection without the private fields,
    such as fakeredis', is left to that. Raises what it raises, except ResponseError.
    """
    reader = getattr(getattr(connection, "_parser", None), "_reader", None)
    if NOT_ENOUGH_DATA is None or not isinstance(reader, Reader):
        return
    while len(replies) < wanted:
        reply = reader.gets(False)  # noqa: FBT003  # bytes stay bytes
        if reply is NOT_ENOUGH_DATA:
            return
        error = reply[0] if type(reply) is list and reply else reply
        if isinstance(error, ConnectionError):  # Redis is loading, or refuses to serve this client
            raise error
        if type(reply) is not PushNotification:
            replies.append(reply)


async def exchange_or_raise(connection: AbstractConnection, commands: Sequence[Command], seconds: float) -> list[Any]:
    """The replies to all `commands` within `seconds`. Raises also TimeoutError, and what `raise_for` raises."""
    async with asyncio.timeout(seconds):
        replies = await exchange(connection, commands)
    raise_for(replies)
    return replies


def raise_for(replies: Sequence[Any]) -> None:
    """Raise the first error reply, except for a key of the wrong type: that is a problem of this key alone."""
    for reply in replies:
        if isinstance(reply, ResponseError) and not str(reply).startswith("WRONGTYPE"):
            raise reply
