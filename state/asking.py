"""Commands that may be tried again: they change nothing, or the same when they are made twice."""

import asyncio
from typing import Any

from redis.exceptions import ResponseError

from state.errors import CorruptState
from state.redis.exchange import Command, exchange
from state.redis.failure import TROUBLE, Outage, pause_or_give_up
from state.redis.servers import Servers

__all__ = ["Asker"]


class Asker:
    """Asks `servers` until they answer, for at most `timeout` seconds."""

    def __init__(self, servers: Servers, *, timeout: float, outage: Outage) -> None:
        self._servers = servers
        self._timeout = timeout
        self._outage = outage

    async def ask(self, key: str, command: Command) -> Any:
        """The reply to a command about `key`. Raises StoreUnavailable, and CorruptState for a key of another type."""
        deadline = asyncio.get_running_loop().time() + self._timeout
        failures = 0
        with self._outage.watch():
            while True:
                problem: Exception
                try:
                    async with asyncio.timeout_at(deadline), self._servers.connection(key) as connection:
                        [reply] = await exchange(connection, [command])
                except TROUBLE as error:
                    problem = error
                else:
                    if not isinstance(reply, ResponseError):
                        return reply
                    if str(reply).startswith("WRONGTYPE"):
                        raise CorruptState(key, "holds a value of another type")
                    problem = reply
                failures += 1
                await pause_or_give_up(self._servers, problem, failures, deadline)
