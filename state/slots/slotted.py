"""A key with a part in each slot of a Cluster, beside the users of the slot; on one server it is one key."""

import random
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final

from redis.exceptions import AskError, ClusterDownError, ResponseError, TryAgainError

from state import keys
from state.errors import CorruptState
from state.redis.exchange import Command, exchange
from state.redis.failure import Outage, as_unavailable
from state.redis.servers import Servers, borrow
from state.update.idle import milliseconds

__all__ = ["Slotted"]

# Parts that are asked in one round trip.
_TOGETHER: Final = 512
# A slot is on its way to another server, where the next look will find it.
_MOVING: Final = (AskError, ClusterDownError, TryAgainError)


class Slotted:
    """Asks all parts of the key `name` behind `servers`; each round trip has `timeout` (seconds).

    The methods raise StoreUnavailable, and CorruptState for a part of another type.
    """

    def __init__(self, servers: Servers, name: str, *, timeout: float, outage: Outage) -> None:
        self._servers = servers
        self._name = name
        self._timeout = timeout
        self._outage = outage
        self._random = random.Random()  # noqa: S311  # which part is first

    async def now(self) -> int:
        """Redis's clock, in ms."""
        with self._outage.watch(), as_unavailable():
            async with borrow(self._servers.connection(""), self._timeout) as connection:
                [clock] = await exchange(connection, [("TIME",)])
        return milliseconds(clock)

    async def ask(self, command: Callable[[str], Command]) -> AsyncGenerator[list[tuple[str, Any]], None]:
        """The keys of some hundred parts at a time, from a random one on, each with its reply to `command`."""
        for group in await self._groups():
            yield await self.ask_some(group, command)

    async def ask_some(self, parts: list[str], command: Callable[[str], Command]) -> list[tuple[str, Any]]:
        """The same of these parts, which one server has; those that are being moved are left out."""
        with self._outage.watch(), as_unavailable():
            async with borrow(self._servers.connection(parts[0]), self._timeout) as connection:
                replies = await exchange(connection, [command(key) for key in parts])
            there = []
            for key, reply in zip(parts, replies, strict=True):
                if isinstance(reply, _MOVING):
                    await self._servers.refresh()
                elif isinstance(reply, ResponseError):
                    if str(reply).startswith("WRONGTYPE"):
                        raise CorruptState(key, "holds a value of another type")
                    raise reply
                else:
                    there.append((key, reply))
        return there

    async def _groups(self) -> list[list[str]]:
        """All parts, in groups that one server has, from a random one on."""
        if self._servers.spans_users:
            return [[self._name]]
        parts = keys.by_slot(self._name)
        with self._outage.watch(), as_unavailable():
            shares = await self._servers.slots()
        groups = [
            [parts[slot] for slot in share[at : at + _TOGETHER]]
            for share in shares
            for at in range(0, len(share), _TOGETHER)
        ]
        start = self._random.randrange(len(groups)) if groups else 0
        return [*groups[start:], *groups[:start]]
