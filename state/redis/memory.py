"""How much memory the servers of Redis use."""

from redis.exceptions import ResponseError

from state.redis.exchange import exchange_or_raise
from state.redis.servers import Servers, borrow

__all__ = ["memory"]


async def memory(servers: Servers, *, patience: float) -> tuple[int, int] | None:
    """Bytes in use and the limit (0: none) of the master that uses most; None if INFO is not allowed.

    `patience` (seconds) is for each server. Raises RedisError, OSError and TimeoutError.
    """
    found = []
    for lend in (await servers.masters()).values():
        async with borrow(lend(), patience) as connection:
            try:
                [reply] = await exchange_or_raise(connection, [("INFO", "memory")], patience)
            except ResponseError:
                return None
        lines = dict(line.split(":", 1) for line in reply.decode(errors="replace").splitlines() if ":" in line)
        found.append((int(lines.get("used_memory", 0)), int(lines.get("maxmemory", 0))))
    return max(found)
