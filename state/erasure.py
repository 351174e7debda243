"""Erasing a user: all keys in one transaction, which starts over only if an idempotency key is added meanwhile."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import compress
from typing import Final, TypeVar

from state import keys, parts
from state.errors import ConflictError
from state.redis.exchange import Command, exchange_or_raise
from state.redis.failure import TROUBLE, Outage, pause_or_give_up
from state.redis.scan import scan
from state.redis.servers import Servers, borrow
from state.update import index
from state.update.changes import (
    MOMENT,
    Backlog,
    Change,
    Emit,
    Entry,
    Hash,
    Moment,
    More,
    Read,
    Remove,
    Schedule,
    Score,
    Values,
    Watched,
    Write,
)
from state.update.idle import milliseconds
from state.values.decision import SHARED

__all__ = ["Eraser", "Last", "removal"]

T = TypeVar("T")
# Makes the last line of a user from the SHARED fields and Redis's clock (ms), if there is to be one.
Last = Callable[[Sequence[bytes | None], int], bytes | None]
# Lost races before it is given up. Rewards with a key come one after the other, each slower than an attempt.
_TRIES: Final = 100
_PAUSE: Final = 0.02
# Seconds for which replicas of a version without indexes may still run beside the first with them.
_ROLLOUT: Final = 86_400


def removal(
    user_id: str, names: Sequence[str], due: str, outbox: str, last: Last | None, *, knows: bool = True
) -> tuple[tuple[Read, ...], Callable[[Values], Change[None]]]:
    """What to read, and the step that removes the keys `names` of a user and all parts, who is `due` no more.

    Unless it `knows` that it can read what decisions share, it reads nothing, and leaves no last line.
    """
    user, shared = user_id.encode(), Hash(keys.shared(user_id), SHARED)
    every = [Entry(part, b"") for part in parts.every(keys.decisions(user_id))]
    removed: tuple[Write, ...] = (*(Remove(key) for key in names), Schedule(due, {user: None}))
    lazily: tuple[Write, ...] = tuple(Remove(one.key, lazily=True) for one in every)
    reads: tuple[Read, ...] = (*(Watched(key) for key in names), Score(due, user))
    if not knows:
        return (*reads, *(Watched(one.key) for one in every)), lambda _: Change(None, (*removed, *lazily))

    def step(values: Values) -> Change[None]:
        found = values[shared.key]
        is_spread = found[-1] is not None
        if is_spread and every[0].place not in values:
            raise More(tuple(every))
        line = last(found, milliseconds(values[MOMENT])) if last is not None else None
        told = () if line is None else (Emit(outbox, "", line),)
        return Change(None, (*told, *removed, *(lazily if is_spread else ())))

    return (*reads, shared, Moment(), *([Backlog(outbox)] if last is not None else [])), step


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

    async def erase(
        self, user_id: str, fixed: Sequence[str], *, thorough: bool = False, last: Last | None = None
    ) -> list[str]:
        """Remove the `fixed` keys of a user and all idempotency keys; the sorted names of those that existed.

        As long as there may be idempotency keys of a version without indexes, or with `thorough`, all keys on the
        user's server are searched before.
        """
        with self._outage.watch():
            strays: list[str] = []
            if thorough or not await self._all_indexed():
                strays = await self._retry(lambda: self._search(user_id))
            return await self._remove(user_id, [*fixed, *strays], last)

    async def _remove(self, user_id: str, names: Sequence[str], last: Last | None) -> list[str]:
        """Remove `names` and all markers in the index; what is written meanwhile is removed too, or counts as later.

        Only markers have names that must be read first, hence the WATCH.
        """
        removed: set[str] = set()
        for _ in range(_TRIES):
            done = await self._retry(lambda: self._attempt(user_id, names, removed, last))
            if done:
                return sorted(removed)
            await asyncio.sleep(self._random.uniform(0, _PAUSE))
        raise ConflictError("too many others change this user at once")

    async def _attempt(self, user_id: str, names: Sequence[str], removed: set[str], last: Last | None) -> bool:
        """False if an idempotency key was added first and nothing was removed.

        Adds the names of what was removed to `removed`, or if the reply is lost, of what existed before.
        """
        own = keys.index(user_id)
        async with borrow(self._servers.connection(own), self._timeout) as connection:
            # The draft never exists: so a cluster that is moving the slot, or has moved it, answers with an error.
            shared = keys.shared(user_id)
            watch: list[Command] = [("WATCH", own, keys.draft(user_id), shared), ("ZRANGE", own, 0, -1)]
            told: list[Command] = [("HMGET", shared, *SHARED), ("TIME",)]
            looks: list[Command] = [("EXISTS", name) for name in names]
            replies = await exchange_or_raise(connection, [*watch, *told, *looks], self._timeout)
            members, there = replies[1], replies[len(watch) + len(told) :]
            markers = [keys.of(user_id, kind) for kind in index.kinds(members)] if isinstance(members, list) else []
            # A value that cannot be read may have parts.
            fields = replies[len(watch)] if isinstance(replies[len(watch)], list) else [None] * len(SHARED)
            spread = fields[-1] is not None or not isinstance(replies[len(watch)], list)
            lazily = dict.fromkeys(parts.every(keys.decisions(user_id)) if spread else ())
            every = list(dict.fromkeys([*names, *markers, own, keys.of(user_id, keys.SEEN), *lazily]))
            # Decisions watch a key of these, so one that is being made starts over and adds to the index again.
            index_of_due: Command = ("ZREM", keys.due(None if self._servers.spans_users else user_id), user_id)
            gone: list[Command] = [("UNLINK" if name in lazily else "DEL", name) for name in every]
            commands: list[Command] = [("MULTI",), *gone, index_of_due]
            if last:
                commands += self._last(user_id, last, fields, replies[len(watch) + 1])
            commands.append(("EXEC",))
            try:
                deleted = (await exchange_or_raise(connection, commands, self._timeout))[-1]
            except TROUBLE:
                removed.update(markers, compress(names, there), [own] if members else [])
                raise
        if deleted is None:
            return False
        removed.update(compress(every, deleted))
        return True

    def _last(self, user_id: str, last: Last, fields: Sequence[bytes | None], clock: list[bytes]) -> list[Command]:
        """The command that adds the user's last line to the log."""
        line = last(fields, milliseconds(clock))
        outbox = keys.outbox(None if self._servers.spans_users else user_id)
        return [] if line is None else [("XADD", outbox, "*", "g", "", "l", line)]

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
