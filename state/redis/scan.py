"""Finding keys by a pattern, in pages small enough not to hold up Redis."""

from collections.abc import AsyncGenerator
from typing import Final

from redis.asyncio.connection import AbstractConnection

from state.redis.exchange import exchange_or_raise

__all__ = ["scan"]

# Keys that Redis looks at per SCAN: it is blocked for a fraction of a millisecond.
_PAGE: Final = 500


async def scan(connection: AbstractConnection, pattern: str, *, patience: float) -> AsyncGenerator[list[str], None]:
    """The keys on this server that match the glob `pattern`, in pages of some hundred; a page may be empty.

    A key that exists throughout is found, perhaps twice; one that comes or goes meanwhile may be missed. Names that are
    not UTF-8 belong to no user and are returned with U+FFFD. `patience` (seconds) is for each page. Raises RedisError,
    OSError and TimeoutError.
    """
    cursor = "0"
    while True:
        [reply] = await exchange_or_raise(connection, [("SCAN", cursor, "MATCH", pattern, "COUNT", _PAGE)], patience)
        cursor = reply[0].decode()
        yield [name.decode(errors="replace") for name in reply[1]]
        if cursor == "0":
            return
