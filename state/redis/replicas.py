"""Replicas of Redis that have a write, before it is acknowledged: a failover must not undo what a caller was told."""

import asyncio
from typing import Final

from redis.asyncio.connection import AbstractConnection

from state.errors import StoreUnavailable
from state.redis.exchange import exchange, raise_for
from state.redis.failure import TROUBLE, reason
from state.redis.servers import Servers

__all__ = ["Replicas"]

_SECONDS: Final = 86_400


class Replicas:
    """Those of `servers`; `wanted` must have a write: None is 1 where one may become the master, and else 0."""

    def __init__(self, servers: Servers, wanted: int | None) -> None:
        self._servers = servers
        self._wanted = wanted

    async def have_it(self, connection: AbstractConnection, key: str, deadline: float) -> None:
        """Wait until enough replicas have everything written so far to the server of `connection`.

        It must be the connection on which the change was made or found: another one may lead to a new master, whose
        replicas do not tell about the old one's writes. WAIT is about the connection's own last write, hence the SET,
        of a string that expires and is not used. Raises StoreUnavailable.
        """
        wanted = self._wanted if self._wanted is not None else int(self._servers.replicated)
        if not wanted:
            return
        milliseconds = max(1, int((deadline - asyncio.get_running_loop().time()) * 900))
        try:
            replies = await exchange(connection, [("SET", key, "?", "EX", _SECONDS), ("WAIT", wanted, milliseconds)])
            raise_for(replies)
        except TROUBLE as error:
            # The change is made, so it must not be tried again.
            raise StoreUnavailable(reason(error)) from error
        if replies[1] < wanted:
            raise StoreUnavailable("written, but too few Redis replicas have it")
