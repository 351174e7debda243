"""Erasing a user: all keys in one transaction, which starts over only if an idempotency key is added meanwhile."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import compress
from typing import Final, TypeVar

from state import keys
from state.errors import ConflictError
from state.redis.exchange import Command, exchange_or_raise
from state.redis.failure import TROUBLE, Outage, pause_or_give_up
from state.redis.scan import scan
from state.redis.servers import Servers, borrow
from state.update import index

__all__ = ["Eraser"]

T = TypeVar("T")
# Lost races before it is given up. Rewards with a key come one after the other, each slower than an attempt.
_TRIES: Final = 100
_PAUSE: Final = 0.02
# Seconds for which replicas of a version without indexes may still run beside the first with them.
_ROLLOUT: Final = 86_400


class Eraser:
    """Removes users from the state behind `servers`; each round trip has `timeout` (seconds).

    `marker_seconds` is how long idempotency keys are remembered.
    """

    def __init__(self, servers: Servers, *, timeout: float, marker_seconds: int, outage: Outage) -> None:
        self._servers = servers
        self._timeout = timeout
        self._marker_seconds = marker_seconds
        self._outage = outage
        self._random = random.Random()  # noqa: S311  # jitter
        self._indexed = False

    async def note_index(self) -> None:
        """Note in Redis, unless it is noted already, that from now on idempotency keys are in their user's index."""
        await self._retry(self._seconds_indexed)

    async def erase(self, user_id: str, fixed: Sequence[str], *, thorough: bool = False) -> list[str]:
        """Remove the `fixed` keys of a user and all idempotency keys; the sorted names of those that existed.

        As long as there may be idempotency keys of a version without indexes, or with `thorough`, all keys on the
        user's server are searched before.
        """
        with self._outage.watch():
            strays: list[str] = []
            if thorough or not await self._all_indexed():
                strays = await self._retry(lambda: self._search(user_id))
            return await self._remove(user_id, [*fixed, *strays])

    async def _remove(self, user_id: str, names: Sequence[str]) -> list[str]:
        """Remove `names` and all markers in the index; what is written meanwhile is removed too, or counts as later.

        Only markers have names that must be read first, hence the WATCH.
        """
        removed: set[str] = set()
        for _ in range(_TRIES):
            done = await self._retry(lambda: self._attempt(user_id, names, removed))
            if done:
                return sorted(removed)
            await asyncio.sleep(self._random.uniform(0, _PAUSE))
        raise ConflictError("too many others change this user at once")

    async def _attempt(self, user_id: str, names: Sequence[str], removed: set[str]) -> bool:
        """False if an idempotency key was added first and nothing was removed.

        Adds the names of what was removed to `removed`, or if the reply is lost, of what existed before.
        """
        own = keys.index(user_id)
        async with borrow(self._servers.connection(own), self._timeout) as connection:
            # The draft never exists: so a cluster that is moving the slot, or has moved it, answers with an error.
            watch: list[Command] = [("WATCH", own, keys.draft(user_id)), ("ZRANGE", own, 0, -1)]
            looks: list[Command] = [("EXISTS", name) for name in names]
            [_, members, *there] = await exchange_or_raise(connection, [*watch, *looks], self._timeout)
            markers = [keys.of(user_id, kind) for kind in index.kinds(members)] if isinstance(members, list) else []
            every = list(dict.fromkeys([*names, *markers, own, keys.of(user_id, keys.SEEN)]))
            # Decisions watch a key of these, so one that is being made starts over and adds to the index again.
            index_of_due: Command = ("ZREM", keys.due(None if self._servers.spans_users else user_id), user_id)
            commands: list[Command] = [("MULTI",), *(("DEL", name) for name in every), index_of_due, ("EXEC",)]
            try:
                deleted = (await exchange_or_raise(connection, commands, self._timeout))[-1]
            except TROUBLE:
                removed.update(markers, compress(names, there), [own] if members else [])
                raise
        if deleted is None:
            return False
        removed.update(compress(every, deleted[:-1]))
        return True

    async def _retry(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """The result of `attempt`, tried again until the time of one request has passed since the first failure."""
        failures = 0
        deadline: float | None = None  # a long search is not a failure
        while True:
            try:
                return await attempt()
            except TROUBLE as error:
                failures += 1
                deadline = deadline or asyncio.get_running_loop().time() + self._timeout
                await pause_or_give_up(self._servers, error, failures, deadline)

    async def _search(self, user_id: str) -> list[str]:
        """All keys of the user that exist now, found by the beginning of their names."""
        pattern = keys.of(user_id, "*")
        async with borrow(self._servers.connection(pattern), self._timeout) as connection:
            await exchange_or_raise(
                connection, [("EXISTS", keys.draft(user_id))], self._timeout
            )  # fails for a moving slot, as above
            pages = scan(connection, pattern, patience=self._timeout)
            return [name async for page in pages for name in page]

    async def _all_indexed(self) -> bool:
        """Whether every idempotency key that has not expired is in an index."""
        if not self._indexed:
            self._indexed = await self._retry(self._seconds_indexed) > self._marker_seconds + _ROLLOUT
        return self._indexed

    async def _seconds_indexed(self) -> float:
        async with borrow(self._servers.connection(keys.INDEXED_SINCE), self._timeout) as connection:
            now = int(time.time())
            commands: list[Command] = [("SET", keys.INDEXED_SINCE, now, "NX"), ("GET", keys.INDEXED_SINCE)]
            [_, since] = await exchange_or_raise(connection, commands, self._timeout)
        return now - int(since) if isinstance(since, bytes) and since.isdigit() else 0.0
