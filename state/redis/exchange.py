"""One exchange with Redis: several commands in one write, and all of their replies.

An error reply is a reply. `exchange` returns it in its place; `exchange_or_raise` raises it, unless it is about one key
only. Neither tries again: that is up to callers, who know whether a command may be repeated.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import lru_cache, partial
from itertools import islice
from types import NoneType
from typing import Any, Final

from hiredis import PushNotification, Reader, pack_command
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError, RedisError, ResponseError  # noqa: A004  # redis-py's names

try:
    from redis._parsers.hiredis import NOT_ENOUGH_DATA
except ImportError:  # then every reply is read in redis-py's public way
    NOT_ENOUGH_DATA = None

__all__ = [
    "Command",
    "errors_in",
    "exchange",
    "exchange_or_raise",
    "exchange_packed",
    "ordinary",
    "pack",
    "raise_for",
    "template",
]

Command = tuple[bytes | str | int, ...]

# The types of replies that are not errors. Sets of types are compared in C.
_ORDINARY: Final = frozenset({bytes, int, list, NoneType})
# Bytes that are read at once. hiredis moves what is left of them after each long reply, so that more take longer.
_READ: Final = 32_768
pack: Final[Callable[[Command], bytes]] = pack_command  # type: ignore[assignment]  # its stub allows one argument only


@lru_cache(1_024)
def template(*words: bytes | str | int | None) -> bytes:
    """A command that is packed but for some words: `%` puts in the length and the bytes of each that is None here.

    hiredis formats the length of each word by printf, which takes ten times as long for a command of five.
    """
    packed = [b"$%d\r\n%b\r\n" if word is None else pack((word,))[4:].replace(b"%", b"%%") for word in words]
    return b"*%d\r\n%b" % (len(words), b"".join(packed))


def exchange(connection: AbstractConnection, commands: Sequence[Command]) -> Awaitable[list[Any]]:
    """The replies to all `commands`, error replies included. Raises RedisError and OSError for a failed connection."""
    return exchange_packed(connection, [*map(pack, commands)])


def exchange_packed(connection: AbstractConnection, commands: Sequence[bytes]) -> Awaitable[list[Any]]:
    """The same for commands that are packed already."""
    if not connection.is_connected:
        # redis-py would connect again, and silently lose what was watched or begun on the old connection.
        raise ConnectionError("the connection was closed")
    sent = b"".join(commands)
    stream = getattr(connection, "_reader", None)
    reader = getattr(getattr(connection, "_parser", None), "_reader", None)
    if isinstance(stream, asyncio.StreamReader) and isinstance(reader, Reader) and NOT_ENOUGH_DATA is not None:
        return _straight(connection, stream, reader, sent, len(commands))
    return _in_public(connection, sent, len(commands))


async def _straight(
    connection: Any, stream: asyncio.StreamReader, reader: Reader, sent: bytes, wanted: int
) -> list[Any]:
    """Past redis-py 8.1, by private fields of it: its streams, and the parser that reads all replies of a batch in C.

    It has no public way to write but `send_packed_command`, nor to replies but `read_response`, one at a time, at many
    times the cost. Nothing waits until Redis takes what is written, for who writes waits for the replies.
    """
    replies: list[Any] = []
    try:
        connection._writer.write(sent)  # noqa: SLF001  # see above
        is_there = reader.has_data()
        while len(replies) < wanted:
            if not is_there:
                data = await stream.read(_READ)
                if not data:
                    raise ConnectionError("the server closed the connection")
                reader.feed(data)
            arrived = iter(partial(reader.gets, False), NOT_ENOUGH_DATA)  # noqa: FBT003  # bytes stay bytes
            found = [*islice(arrived, wanted - len(replies))]
            is_there = bool(found)
            replies += found if ordinary(found) else _examined(found)
    except (OSError, RuntimeError) as error:  # RuntimeError is what uvloop raises for a closed transport
        raise ConnectionError("the connection was closed meanwhile") from error
    return replies


def _examined(replies: Sequence[Any]) -> list[Any]:
    """The replies without what Redis tells unasked. Raises what says that Redis does not serve this client at all."""
    for reply in replies:
        if isinstance(reply, ConnectionError):  # Redis is loading, or refuses to serve this client
            raise reply
    return [reply for reply in replies if type(reply) is not PushNotification]


async def _in_public(connection: AbstractConnection, sent: bytes, wanted: int) -> list[Any]:
    """In redis-py's public way: for fakeredis, and for a redis-py without those fields."""
    replies: list[Any] = []
    try:
        await connection.send_packed_command(sent, check_health=False)
        while len(replies) < wanted:
            try:
                replies.append(await connection.read_response(disable_decoding=True))
            except ResponseError as error:
                replies.append(error)
    except RuntimeError as error:  # as above; redis-py does not expect it
        raise ConnectionError("the connection was closed meanwhile") from error
    return replies


async def exchange_or_raise(connection: AbstractConnection, commands: Sequence[Command], seconds: float) -> list[Any]:
    """The replies to all `commands` within `seconds`. Raises also TimeoutError, and what `raise_for` raises."""
    async with asyncio.timeout(seconds):
        replies = await exchange(connection, commands)
    raise_for(replies)
    return replies


def ordinary(replies: Iterable[Any]) -> bool:
    """Whether there can be no error among the replies; seen at once, and False also where there is none."""
    return _ORDINARY.issuperset(map(type, replies))


def raise_for(replies: Sequence[Any]) -> None:
    """Raise the first error reply, except for a key of the wrong type: that is a problem of this key alone."""
    if ordinary(replies):
        return
    for reply in replies:
        if isinstance(reply, ResponseError) and not str(reply).startswith("WRONGTYPE"):
            raise reply


def errors_in(replies: Sequence[Any]) -> list[RedisError]:
    """The errors among the replies within a reply to EXEC."""
    if ordinary(replies):
        return []
    return [reply for reply in replies if isinstance(reply, RedisError)]
