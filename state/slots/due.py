"""The index of users whose decisions must be looked at: who is due, found without looking at anyone else.

The transactions that change a user's decisions write it.
"""

from contextlib import aclosing
from typing import Final

import msgspec

from state import keys
from state.redis.failure import Outage
from state.redis.servers import Servers
from state.slots.slotted import Slotted
from state.update.agenda import members

__all__ = ["Due", "Waiting"]

# Users of each part of the index that are read at once. With one part for all users, as many as are asked for.
_OF_EACH: Final = 8


class Waiting(msgspec.Struct, frozen=True):
    """A user, and the moment (ms) from which the user was due."""

    user: str
    since: float


class Due:
    """Reads the index behind `servers`; each round trip has `timeout` (seconds).

    The methods raise StoreUnavailable, and CorruptState if the index holds something else.
    """

    def __init__(self, servers: Servers, *, timeout: float, outage: Outage | None = None) -> None:
        self._servers, self._name = servers, keys.due(None)
        self._parts = Slotted(servers, self._name, timeout=timeout, outage=outage or Outage())

    def key(self, user_id: str) -> str:
        """The part of the index that has this user."""
        return self._name if self._servers.spans_users else keys.due(user_id)

    async def now(self) -> int:
        """Redis's clock, in ms."""
        return await self._parts.now()

    async def count(self, by: int) -> int:
        """How many users are due at the moment `by` (ms)."""
        found = 0
        async for replies in self._parts.ask(lambda key: ("ZCOUNT", key, "-inf", by)):
            found += sum(reply for _, reply in replies)
        return found

    async def users(self, most: int, by: int) -> list[Waiting]:
        """At most `most` users who are due at the moment `by` (ms), those who wait longest first.

        On a Cluster the parts are looked through from a random one on, until there are enough, so that no
        user is passed over for ever when few of many are asked for.
        """
        each = most if self._servers.spans_users else min(most, _OF_EACH)
        found: list[Waiting] = []
        async with aclosing(self._parts.ask(lambda key: ("ZRANGE", key, 0, each - 1, "WITHSCORES"))) as pages:
            async for replies in pages:
                for _, reply in replies:
                    found += (Waiting(user.decode(errors="replace"), at) for user, at in members(reply) if at <= by)
                if len(found) >= most:
                    break
        return sorted(found, key=lambda one: one.since)[:most]
