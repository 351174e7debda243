"""The one optimistic update: WATCH and read, apply, MULTI ... EXEC, in two round trips for a whole batch.

Exactly once: each transaction also writes an operation id to a key that it watches. When the reply to EXEC is lost or
late, that key is asked, and in asking it is changed: a transaction that was not applied by then never will be.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ResponseError

from state import keys
from state.errors import ConflictError, StoreError, StoreUnavailable
from state.redis.failure import TROUBLE, Outage, pause_or_give_up, raise_for, reason
from state.redis.servers import Command, Servers, exchange
from state.update.batch import Batch, Operation

__all__ = ["RESERVE", "Flush", "Lane", "Transactions", "fail"]

_log: Final = logging.getLogger("oo.store")

# The part of a request's time that is kept for asking what became of it.
RESERVE: Final = 0.25
# Lost races before the users of a batch go one by one, and before one user's changes are given up.
_TRIES_TOGETHER: Final = 3
_TRIES_ALONE: Final = 12
_PAUSE: Final = 0.002
_LONGEST_PAUSE: Final = 0.1
# Redis' clock may jump ahead, as on a machine that was suspended. An operation id that expired by that would make the
# service apply a transaction again, so it outlives a jump of hours.
_FLIGHT_SECONDS: Final = 86_400


class Lane:
    """One of the flushes that may be under way: its name among all replicas' and the number of its transactions."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.number = 0
        self.sent = False
        self.failures = 0


class Flush(msgspec.Struct, frozen=True):
    """What it took to apply some operations together: seconds, lost races, failures, and the error that ended it.

    After too many lost races the operations of several users are applied anew, one user at a time.
    """

    operations: int
    seconds: float
    conflicts: int
    failures: int
    error: str | None


class Transactions:
    """Applies operations to the state behind `servers`.

    `timeout` (seconds) is what an operation has in all. `wait_replicas` Redis replicas must have a write before it is
    acknowledged; None is 1 where a replica may become the master, and else 0. `observe` is told of every flush,
    `outage` of how it ended.
    """

    def __init__(
        self,
        servers: Servers,
        *,
        timeout: float,
        history_size: int,
        marker_seconds: int,
        wait_replicas: int | None,
        observe: Callable[[Flush], None],
        outage: Outage,
    ) -> None:
        self._servers = servers
        self._timeout = timeout
        self._history_size = history_size
        self._marker_seconds = marker_seconds
        self._wait_replicas = wait_replicas
        self._observe = observe
        self._outage = outage
        self._random = random.Random()  # noqa: S311  # jitter

    async def commit(self, lane: Lane, operations: list[Operation], *, alone: bool = False) -> bool:
        """Bring the operations into Redis and tell their callers what came of it.

        False if too many others were first and nobody was told; `alone`, of one user, that is told as well.
        """
        started = asyncio.get_running_loop().time()
        deadline = min(operation.deadline for operation in operations)
        flight = keys.flight(lane.name, None if self._servers.spans_users else operations[0].user)
        tries = _TRIES_ALONE if alone else _TRIES_TOGETHER
        lane.failures = lost = 0
        problem: Exception | None = None
        try:
            while (batch := await self._apply(lane, flight, operations, deadline)) is None:
                lost += 1
                if lost == tries:
                    break
                await asyncio.sleep(self._random.uniform(0, min(_PAUSE * 2**lost, _LONGEST_PAUSE)))
            else:
                batch.settle()
        except StoreError as error:
            problem = error
        except Exception as error:  # noqa: BLE001  # a defect of ours; nobody shall wait for ever
            _log.exception("a flush failed")
            problem = error
        if alone and lost == tries:
            problem = ConflictError("too many others change this user at once")
        if problem is not None:
            fail(operations, problem)
        self._outage.note(problem)
        seconds = asyncio.get_running_loop().time() - started
        self._observe(
            Flush(len(operations), seconds, lost, lane.failures, None if problem is None else type(problem).__name__)
        )
        return alone or lost < tries

    async def _apply(self, lane: Lane, flight: str, operations: list[Operation], deadline: float) -> Batch | None:
        """Apply the operations exactly once; None if another writer was first and nothing was applied."""
        soon = deadline - self._timeout * RESERVE
        while True:
            batch = Batch(
                operations,
                history_size=self._history_size,
                marker_seconds=self._marker_seconds,
                now=int(time.time()),
            )
            lane.sent = False
            try:
                async with asyncio.timeout_at(soon):
                    return batch if await self._attempt(lane, flight, batch, soon) else None
            except TROUBLE as error:
                if lane.sent and await self._was_applied(lane, flight, deadline):
                    return batch
                lane.failures += 1
                await pause_or_give_up(self._servers, error, lane.failures, deadline)

    async def _attempt(self, lane: Lane, flight: str, batch: Batch, deadline: float) -> bool:
        """One WATCH ... EXEC; False if EXEC says that a watched key was changed."""
        async with self._servers.connection(flight) as connection:
            # MULTI comes before the writes are sent: were it refused (an ACL), they would be made one by one.
            replies = await exchange(connection, [*batch.reads(flight), ("MULTI",)])
            raise_for(replies)
            writes = batch.apply(replies[:-1])
            if not writes:
                await exchange(connection, [("DISCARD",)])
                await self._replicated(connection, flight, deadline)
                return True
            lane.number += 1
            writes += [("SET", flight, b"%d|" % lane.number, "EX", _FLIGHT_SECONDS), ("EXEC",)]
            lane.sent = True
            replies = await exchange(connection, writes)
            lane.sent = False
            raise_for(replies)
            if replies[-1] is None:
                return False
            for reply in replies[-1]:
                if isinstance(reply, ResponseError):
                    _log.critical("a transaction was applied in part: %s", reply)
                    raise StoreError("a part of the change was refused by Redis")
            await self._replicated(connection, flight, deadline)
        return True

    async def _replicated(self, connection: AbstractConnection, flight: str, deadline: float) -> None:
        """Wait until enough Redis replicas have all that was written so far to the server of `connection`.

        It must be the connection on which the change was made or found: another one may lead to a new master, whose
        replicas say nothing of the old one's writes. WAIT speaks of the connection's own last write, hence the write
        before it. Nobody will ask for the operation id any more, so that is what it goes over.
        """
        wanted = self._wait_replicas if self._wait_replicas is not None else int(self._servers.replicated)
        if not wanted:
            return
        milliseconds = max(1, int((deadline - asyncio.get_running_loop().time()) * 900))
        try:
            replies = await exchange(
                connection,
                [("SET", flight, "?", "EX", _FLIGHT_SECONDS), ("WAIT", wanted, milliseconds)],
            )
            raise_for(replies)
        except TROUBLE as error:
            # Not to be tried again: the change is made.
            raise StoreUnavailable(reason(error)) from error
        if replies[1] < wanted:
            raise StoreUnavailable("written, but too few Redis replicas have it")

    async def _was_applied(self, lane: Lane, flight: str, deadline: float) -> bool:
        """Whether the last transaction of the lane was applied; if not, it will not be any more.

        The transaction watches `flight`, so appending to it first decides the matter, and reading it then tells.
        """
        question: list[Command] = [("APPEND", flight, "?"), ("GET", flight), ("EXPIRE", flight, _FLIGHT_SECONDS)]
        while True:
            try:
                async with (
                    asyncio.timeout_at(deadline),
                    self._servers.connection(flight, insist=True) as connection,
                ):
                    replies = await exchange(connection, question)
                    raise_for(replies)
                    answer: bytes = replies[1]
                    applied = answer.startswith(b"%d|" % lane.number)
                    if applied:
                        await self._replicated(connection, flight, deadline)
                    return applied
            except TROUBLE as error:
                await pause_or_give_up(self._servers, error, 0, deadline)


def fail(operations: Sequence[Operation], error: Exception) -> None:
    """Raise `error` where an operation is still waited for."""
    for operation in operations:
        if not operation.done.done():
            operation.done.set_exception(error)
