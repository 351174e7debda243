"""Finding keys by a pattern, on one server, without holding it up and without waiting for ever."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Final

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ResponseError

from state.servers import exchange

__all__ = ["lent", "scan"]

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


async def scan(connection: AbstractConnection, pattern: str, *, patience: float) -> AsyncGenerator[list[str], None]:
    """The keys on this server that match the glob `pattern`, in pages of some hundred, with empty ones among them.

    A key that is there all the time is found, perhaps twice; one that comes or goes meanwhile, perhaps. Names that are
    not UTF-8 are nobody's and come with U+FFFD in them. `patience` (seconds) is for each page. Raises RedisError,
    OSError and TimeoutError.
    """
    cursor = "0"
    while True:
        async with asyncio.timeout(patience):
            [reply] = await exchange(connection, [("SCAN", cursor, "MATCH", pattern, "COUNT", _PAGE)])
        if isinstance(reply, ResponseError):
            raise reply
        cursor = reply[0].decode()
        yield [name.decode(errors="replace") for name in reply[1]]
        if cursor == "0":
            return
