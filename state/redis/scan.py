"""Talking with one server, and finding keys there by a pattern, without holding it up or waiting for ever."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, Final

from redis.asyncio.connection import AbstractConnection

from state.redis.failure import raise_for
from state.redis.servers import Command, exchange

__all__ = ["answers", "lent", "scan"]

# Keys that Redis looks at in one go: a fraction of a millisecond in which it does nothing else.
_PAGE: Final = 500


@asynccontextmanager
async def lent(
    lending: AbstractAsyncContextManager[AbstractConnection], patience: float
) -> AsyncIterator[AbstractConnection]:
    """The connection that is lent, if it comes within `patience` (seconds), for as long as it takes."""
    async with AsyncExitStack() as stack:
        async with asyncio.timeout(patience):
            connection = await stack.enter_async_context(lending)
        yield connection


async def answers(connection: AbstractConnection, commands: list[Command], patience: float) -> list[Any]:
    """The replies to all `commands`, if they come within `patience` (seconds). Raises what `raise_for` does."""
    async with asyncio.timeout(patience):
        replies = await exchange(connection, commands)
    raise_for(replies)
    return replies


async def scan(connection: AbstractConnection, pattern: str, *, patience: float) -> AsyncGenerator[list[str], None]:
    """The keys on this server that match the glob `pattern`, in pages of some hundred, with empty ones among them.

    A key that is there all the time is found, perhaps twice; one that comes or goes meanwhile, perhaps. Names that are
    not UTF-8 are nobody's and come with U+FFFD in them. `patience` (seconds) is for each page. Raises RedisError,
    OSError and TimeoutError.
    """
    cursor = "0"
    while True:
        [reply] = await answers(connection, [("SCAN", cursor, "MATCH", pattern, "COUNT", _PAGE)], patience)
        cursor = reply[0].decode()
        yield [name.decode(errors="replace") for name in reply[1]]
        if cursor == "0":
            return
