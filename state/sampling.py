"""A sample of the users of a policy, the same at each time as long as the users are the same."""

import hashlib
import heapq
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ResponseError

from state import keys
from state.errors import CorruptState
from state.redis.exchange import exchange_or_raise
from state.redis.failure import as_unavailable
from state.redis.scan import PAGE, scan_all
from state.redis.servers import Servers
from state.values import record
from state.values.record import Meta

__all__ = ["Sample"]

_EVERYTHING: Final = 2**64


class Sample:
    """At most `most` users with models under a policy whose counters `fit`: those whose ids have the smallest hash.

    So a user who comes or goes changes at most one other. `seen` counts the models, some perhaps twice.
    """

    def __init__(self, policy_id: str, most: int, fits: Callable[[Meta], bool]) -> None:
        self.seen = 0
        self._policy = policy_id
        self._most = most
        self._fits = fits
        # The hash of each user taken, and as a heap with the largest first.
        self._taken: dict[str, int] = {}
        self._largest: list[tuple[int, str]] = []

    @property
    def users(self) -> list[str]:
        """The users taken, in the order of their hashes."""
        return sorted(self._taken, key=lambda user: (self._taken[user], user))

    async def draw(self, servers: Servers, *, patience: float) -> AsyncGenerator[int, None]:
        """Look through all keys; yields for each page about how many it has looked at.

        Memory is bounded by `most` and by a page. `patience` (seconds) is for each round trip. Raises StoreUnavailable.
        """
        pattern = keys.models(self._policy)
        with as_unavailable():
            async with aclosing(scan_all(servers, pattern, patience=patience)) as pages:
                async for connection, names in pages:
                    users = [parsed[0] for parsed in map(keys.parse, names) if parsed is not None]
                    self.seen += len(users)
                    await self._consider(connection, users, patience)
                    yield PAGE

    async def _consider(self, connection: AbstractConnection, users: list[str], patience: float) -> None:
        limit = -self._largest[0][0] if len(self._taken) == self._most else _EVERYTHING
        hashed = [(_hash(user), user) for user in users if user not in self._taken]
        wanted = [each for each in hashed if each[0] < limit]
        asked = [("HMGET", keys.record(user, self._policy), b"meta") for _, user in wanted]
        for (number, user), reply in zip(wanted, await exchange_or_raise(connection, asked, patience), strict=True):
            if not isinstance(reply, ResponseError) and self._is_fit(user, reply[0]):
                self._take(number, user)

    def _is_fit(self, user: str, meta: bytes | None) -> bool:
        """Whether a model is one to take; one that is damaged is not."""
        try:
            return meta is not None and self._fits(record.decode_meta(keys.record(user, self._policy), meta))
        except CorruptState:
            return False

    def _take(self, number: int, user: str) -> None:
        if user in self._taken:  # twice in one page
            return
        self._taken[user] = number
        heapq.heappush(self._largest, (-number, user))
        if len(self._taken) > self._most:
            _, gone = heapq.heappop(self._largest)
            del self._taken[gone]


def _hash(user: str) -> int:
    return int.from_bytes(hashlib.blake2b(user.encode(), digest_size=8).digest(), "big")
