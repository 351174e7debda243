"""Erasing a user: everything there is of one, in one transaction that loses only to a new idempotency key."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import compress
from typing import Final, TypeVar

from state import keys
from state.errors import ConflictError
from state.redis.failure import TROUBLE, Outage, pause_or_give_up
from state.redis.scan import answers, lent, scan
from state.redis.servers import Command, Servers
from state.update import index

__all__ = ["Eraser"]

T = TypeVar("T")
# Keyed rewards that may be first before it is given up. They come one after the other, an attempt takes less than two.
_TRIES: Final = 100
_PAUSE: Final = 0.02
# How long replicas of a version without indexes may go on beside the first one with them.
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
        """Remember in Redis that from now on idempotency keys are in their user's index, unless it is known already."""
        await self._insist(self._seconds_indexed)

    async def erase(self, user_id: str, fixed: Sequence[str], *, thorough: bool = False) -> list[str]:
        """Remove every key of a user: `fixed` ones and all idempotency keys; the names of those there were, in order.

        As long as there may be idempotency keys that a version without indexes wrote, all keys on the user's server are
        looked through before, some hundred at a time; `thorough` asks for that at any time.
        """
        with self._outage.watch():
            strays: list[str] = []
            if thorough or not await self._all_indexed():
                strays = await self._insist(lambda: self._search(user_id))
            return await self._remove(user_id, [*fixed, *strays])

    async def _remove(self, user_id: str, names: Sequence[str]) -> list[str]:
        """Whatever else of the user is written meanwhile is removed too, or counts as what came later.

        Only idempotency keys have names that must be read first, hence the WATCH.
        """
        removed: set[str] = set()
        for _ in range(_TRIES):
            done = await self._insist(lambda: self._attempt(user_id, names, removed))
            if done:
                return sorted(removed)
            await asyncio.sleep(self._random.uniform(0, _PAUSE))
        raise ConflictError("too many others change this user at once")

    async def _attempt(self, user_id: str, names: Sequence[str], removed: set[str]) -> bool:
        """False if an idempotency key was first and nothing was removed.

        Adds the names of what was removed to `removed`; when the reply is lost, of what was there before it.
        """
        own = keys.index(user_id)
        async with lent(self._servers.connection(own), self._timeout) as connection:
            # The draft is never there, so a cluster that is moving the slot says so, and one that has moved it.
            watch: list[Command] = [("WATCH", own, keys.draft(user_id)), ("ZRANGE", own, 0, -1)]
            looks: list[Command] = [("EXISTS", name) for name in names]
            [_, members, *there] = await answers(connection, [*watch, *looks], self._timeout)
            markers = [keys.of(user_id, kind) for kind in index.kinds(members)] if isinstance(members, list) else []
            every = list(dict.fromkeys([*names, *markers, own]))
            commands: list[Command] = [("MULTI",), *(("DEL", name) for name in every), ("EXEC",)]
            try:
                deleted = (await answers(connection, commands, self._timeout))[-1]
            except TROUBLE:
                removed.update(markers, compress(names, there), [own] if members else [])
                raise
        if deleted is None:
            return False
        removed.update(compress(every, deleted))
        return True

    async def _insist(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """What `attempt` comes to, tried again for as long as one request may take after the first failure."""
        failures = 0
        deadline: float | None = None  # a long search is none
        while True:
            try:
                return await attempt()
            except TROUBLE as error:
                failures += 1
                deadline = deadline or asyncio.get_running_loop().time() + self._timeout
                await pause_or_give_up(self._servers, error, failures, deadline)

    async def _search(self, user_id: str) -> list[str]:
        """All keys of the user that are there now, found by their names' beginning."""
        pattern = keys.everything(user_id)
        async with lent(self._servers.connection(pattern), self._timeout) as connection:
            await answers(connection, [("EXISTS", keys.draft(user_id))], self._timeout)  # of a moving slot, as above
            pages = scan(connection, pattern, patience=self._timeout)
            return [name async for page in pages for name in page]

    async def _all_indexed(self) -> bool:
        """Whether every idempotency key that has not expired is in an index."""
        if not self._indexed:
            self._indexed = await self._insist(self._seconds_indexed) > self._marker_seconds + _ROLLOUT
        return self._indexed

    async def _seconds_indexed(self) -> float:
        async with lent(self._servers.connection(keys.INDEXED_SINCE), self._timeout) as connection:
            now = int(time.time())
            commands: list[Command] = [("SET", keys.INDEXED_SINCE, now, "NX"), ("GET", keys.INDEXED_SINCE)]
            [_, since] = await answers(connection, commands, self._timeout)
        return now - int(since) if isinstance(since, bytes) and since.isdigit() else 0.0
