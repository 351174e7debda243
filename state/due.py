"""The index of users whose decisions must be looked at: who is due, found without looking at anyone else.

The transactions that change a user's decisions write it. On a Cluster it has a part in each slot, beside its users.
"""

import random
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any, Final

import msgspec
from redis.exceptions import AskError, ClusterDownError, ResponseError, TryAgainError

from state import keys
from state.errors import CorruptState
from state.redis.exchange import Command, exchange
from state.redis.failure import Outage, as_unavailable
from state.redis.servers import Servers, borrow
from state.update.changes import members

__all__ = ["Due", "Waiting"]

# Parts of the index that are read in one round trip, and users of each. With one part for all users, as asked.
_TOGETHER: Final = 512
_OF_EACH: Final = 8
# A slot is on its way to another server, where the next look will find it.
_MOVING: Final = (AskError, ClusterDownError, TryAgainError)


class Waiting(msgspec.Struct, frozen=True):
    """A user, and the moment (ms) from which the user was due."""

    user: str
    since: float


class Due:
    """Reads the index behind `servers`; each round trip has `timeout` (seconds).

    The methods raise StoreUnavailable, and CorruptState if the index holds something else.
    """

    def __init__(self, servers: Servers, *, timeout: float, outage: Outage | None = None) -> None:
        self._servers = servers
        self._timeout = timeout
        self._outage = outage or Outage()
        self._random = random.Random()  # noqa: S311  # who is first

    def key(self, user_id: str) -> str:
        """The part of the index that has this user."""
        return keys.due(None if self._servers.spans_users else user_id)

    async def now(self) -> int:
        """Redis's clock, in ms."""
        with self._outage.watch(), as_unavailable():
            async with borrow(self._servers.connection(""), self._timeout) as connection:
                [clock] = await exchange(connection, [("TIME",)])
        return _ms(clock)

    async def count(self, by: int) -> int:
        """How many users are due at the moment `by` (ms)."""
        found = 0
        async for replies in self._ask(lambda key: ("ZCOUNT", key, "-inf", by)):
            found += sum(replies)
        return found

    async def users(self, most: int, by: int) -> list[Waiting]:
        """At most `most` users who are due at the moment `by` (ms), those who wait longest first.

        On a Cluster the parts are looked through from a random one on, until there are enough: so whoever asks for few
        of many passes over nobody for ever.
        """
        each = most if self._servers.spans_users else min(most, _OF_EACH)
        found: list[Waiting] = []
        async with aclosing(self._ask(lambda key: ("ZRANGE", key, 0, each - 1, "WITHSCORES"))) as pages:
            async for replies in pages:
                for reply in replies:
                    found += (Waiting(user.decode(errors="replace"), at) for user, at in members(reply) if at <= by)
                if len(found) >= most:
                    break
        return sorted(found, key=lambda one: one.since)[:most]

    async def _ask(self, command: Callable[[str], Command]) -> AsyncGenerator[list[Any], None]:
        """The replies to `command` for each part of the index, of some hundred parts at a time."""
        for group in await self._groups():
            with self._outage.watch(), as_unavailable():
                async with borrow(self._servers.connection(group[0]), self._timeout) as connection:
                    replies = await exchange(connection, [command(key) for key in group])
                there = []
                for key, reply in zip(group, replies, strict=True):
                    if isinstance(reply, _MOVING):
                        await self._servers.refresh()
                    elif isinstance(reply, ResponseError):
                        if str(reply).startswith("WRONGTYPE"):
                            raise CorruptState(key, "holds a value of another type")
                        raise reply
                    else:
                        there.append(reply)
            yield there

    async def _groups(self) -> list[list[str]]:
        """The parts of the index, in groups that one server has, from a random one on."""
        if self._servers.spans_users:
            return [[keys.due(None)]]
        parts = keys.due_by_slot()
        with self._outage.watch(), as_unavailable():
            shares = await self._servers.slots()
        groups = [
            [parts[slot] for slot in share[at : at + _TOGETHER]]
            for share in shares
            for at in range(0, len(share), _TOGETHER)
        ]
        start = self._random.randrange(len(groups)) if groups else 0
        return [*groups[start:], *groups[:start]]


def _ms(clock: Sequence[bytes]) -> int:
    seconds, micros = clock
    return int(seconds) * 1_000 + int(micros) // 1_000
