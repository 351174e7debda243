"""Finding keys by a pattern, in pages small enough not to hold up Redis."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from redis.asyncio.connection import AbstractConnection

from state.errors import StoreUnavailable
from state.redis.exchange import exchange_or_raise
from state.redis.servers import Servers, borrow

__all__ = ["PAGE", "scan", "scan_all"]

# About so many keys Redis looks at per SCAN: it is blocked for a fraction of a millisecond.
PAGE: Final = 500


async def scan(connection: AbstractConnection, pattern: str, *, patience: float) -> AsyncGenerator[list[str], None]:
    """The keys on this server that match the glob `pattern`, in pages of some hundred; a page may be empty.

    A key that exists throughout is found, perhaps twice; one that comes or goes meanwhile may be missed. Names that are
    not UTF-8 belong to no user and are returned with U+FFFD. `patience` (seconds) is for each page. Raises RedisError,
    OSError and TimeoutError.
    """
    cursor = "0"
    while True:
        [reply] = await exchange_or_raise(connection, [("SCAN", cursor, "MATCH", pattern, "COUNT", PAGE)], patience)
        cursor = reply[0].decode()
        yield [name.decode(errors="replace") for name in reply[1]]
        if cursor == "0":
            return


async def scan_all(
    servers: Servers, pattern: str, *, patience: float
) -> AsyncGenerator[tuple[AbstractConnection, list[str]], None]:
    """As `scan`, on every master: pages of keys, each with a connection to the server that has them.

    Raises StoreUnavailable if slots of a cluster moved meanwhile, so that keys may have been missed.
    """
    masters = await servers.masters()
    for lend in masters.values():
        async with (
            borrow(lend(), patience) as connection,
            aclosing(scan(connection, pattern, patience=patience)) as pages,
        ):
            async for names in pages:
                yield connection, names
    if (await servers.masters()).keys() != masters.keys():
        raise StoreUnavailable("slots of the cluster moved meanwhile, so keys may have been missed: try again")
