"""The one optimistic update: WATCH and read, apply, MULTI ... EXEC, in two round trips for a whole batch.

Exactly once: each transaction also writes an operation id to a key that it watches. If the reply to EXEC is lost or
late, that key is changed and read: a transaction that was not applied before the change never will be.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple

from state import keys
from state.errors import ConflictError, StoreError
from state.redis.exchange import Command, errors_in, exchange, exchange_packed, pack, raise_for
from state.redis.failure import TROUBLE, Outage, pause_or_give_up
from state.redis.replicas import Replicas
from state.redis.servers import Servers
from state.update.batch import Batch
from state.update.idle import Idle
from state.update.operation import Emitted, Flush, Operation, fail
from state.update.turns import Turns

__all__ = ["RESERVE", "Lane", "Transactions"]

_log: Final = logging.getLogger("oo.store")

# The part of a request's time that is reserved for finding out whether EXEC was applied.
RESERVE: Final = 0.25
# Lost races before the users of a batch are taken one by one, and before one user's changes fail.
_TRIES_TOGETHER: Final = 3
_TRIES_ALONE: Final = 12
_PAUSE: Final = 0.002
_LONGEST_PAUSE: Final = 0.1
# The clock of Redis may jump ahead, as after a suspended machine. If an operation id expired by that, its transaction
# would be applied again, so it outlives a jump of hours.
_FLIGHT_SECONDS: Final = 86_400
_MULTI, _DISCARD = pack(("MULTI",)), pack(("DISCARD",))


class Lane:
    """One of the flushes that may run at once: a name unique among all replicas, and how many transactions it sent."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.number = 0


class _Failure(NamedTuple):
    """An attempt that ended in `error`; `in_doubt`: Redis may have applied it all the same."""

    error: Exception
    in_doubt: bool


class _Outcome(NamedTuple):
    """What became of some operations after lost races and failures: an error, or `undecided` after too many races;
    `wrote`: there was something to write."""

    conflicts: int
    failures: int
    error: Exception | None = None
    undecided: bool = False
    wrote: bool = True


class Transactions:
    """Applies operations to the state behind `servers`.

    `timeout` (seconds) is all the time of an operation. `wait_replicas` Redis replicas must have a write before it is
    acknowledged; None is 1 where a replica may become the master, and else 0. `observe` gets every flush, and `outage`
    the error that it ended with. `idle` says when users expire.
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
        idle: Idle | None = None,
    ) -> None:
        self._servers = servers
        self._timeout = timeout
        self._batch = partial(Batch, history_size=history_size, marker_seconds=marker_seconds, idle=idle)
        self._replicas = Replicas(servers, wait_replicas)
        self._observe = observe
        self._outage = outage
        # Gets what was added to streams, unless the reply that says so is lost.
        self.emitted: Callable[[list[Emitted]], None] = lambda _: None
        self._random = random.Random()  # noqa: S311  # jitter
        self.turns = Turns(servers)

    async def turn(self, operations: Sequence[Operation]) -> bool:
        """Wait for a turn with the user of `operations`, for a part of their time; False if there is none."""
        until = min(operation.deadline for operation in operations) - self._timeout / 2
        return await self.turns.take(operations[0].user, until)

    async def commit(
        self, lane: Lane, operations: list[Operation], *, alone: bool = False, in_turn: bool = False
    ) -> bool:
        """Make the changes of `operations` in Redis, and give their callers the results or errors.

        False after too many lost races, without telling the callers; with `alone`, for operations of one user, they get
        ConflictError instead. What is made `in_turn` ends it.
        """
        started = asyncio.get_running_loop().time()
        outcome = await self._apply(lane, operations, alone=alone, in_turn=in_turn)
        error = outcome.error
        if alone and outcome.undecided:
            error = ConflictError("too many others change this user at once")
        if error is not None:
            fail(operations, error)
        self._outage.note(error, wrote=outcome.wrote)
        self._observe(
            Flush(
                operations=len(operations),
                seconds=asyncio.get_running_loop().time() - started,
                conflicts=outcome.conflicts,
                failures=outcome.failures,
                error=None if error is None else type(error).__name__,
            )
        )
        return alone or not outcome.undecided

    async def _apply(self, lane: Lane, operations: list[Operation], *, alone: bool, in_turn: bool) -> _Outcome:
        """Apply the operations exactly once and give their callers the results, unless too many races are lost."""
        tries, user = _TRIES_ALONE if alone else _TRIES_TOGETHER, operations[0].user
        deadline = min(operation.deadline for operation in operations)
        flight = keys.flight(lane.name, None if self._servers.spans_users else user)
        conflicts = failures = 0
        try:
            while conflicts < tries:
                batch = self._batch(operations, now=int(time.time()))
                turn = self.turns.end(user) if in_turn else None
                attempt = await self._attempt(lane, flight, batch, deadline - self._timeout * RESERVE, turn)
                doubtful = isinstance(attempt, _Failure) and attempt.in_doubt
                if doubtful and await self._was_applied(lane, flight, deadline):
                    attempt = True
                if isinstance(attempt, _Failure):
                    failures += 1
                    await pause_or_give_up(self._servers, attempt.error, failures, deadline)
                elif attempt:
                    batch.settle()
                    return _Outcome(conflicts, failures, wrote=batch.wrote)
                else:
                    conflicts += 1
                    if alone:
                        self.turns.note(user)
                    if alone and not in_turn:
                        in_turn = await self.turn(operations)
                    elif conflicts < tries:
                        await asyncio.sleep(self._random.uniform(0, min(_PAUSE * 2**conflicts, _LONGEST_PAUSE)))
        except StoreError as error:
            return _Outcome(conflicts, failures, error)
        except Exception as error:  # noqa: BLE001  # a defect of ours: callers must not wait for ever
            _log.exception("a flush failed")
            return _Outcome(conflicts, failures, error)
        return _Outcome(conflicts, failures, undecided=True)

    async def _attempt(
        self, lane: Lane, flight: str, batch: Batch, deadline: float, turn: Command | None
    ) -> bool | _Failure:
        """One WATCH ... EXEC, which ends a `turn`; False if another writer was first, so that nothing was applied."""
        ending = [] if turn is None else [turn]
        in_doubt = False
        try:
            async with asyncio.timeout_at(deadline), self._servers.connection(flight) as connection:
                # MULTI before the writes: if Redis refused it (an ACL), the writes would be made one by one.
                replies = await exchange_packed(connection, [*batch.reads(flight), _MULTI])
                raise_for(replies)
                writes = batch.apply(replies[:-1])
                while batch.lacks:
                    batch.restart()
                    replies = await exchange_packed(connection, [_DISCARD, *batch.reads(flight), _MULTI])
                    raise_for(replies)
                    writes = batch.apply(replies[1:-1])
                if not writes:
                    batch.wrote = False
                    await exchange(connection, [("DISCARD",), *ending])
                    await self._replicas.have_it(connection, flight, deadline)
                    return True
                lane.number += 1
                writes += [*ending, ("SET", flight, b"%d|" % lane.number, "EX", _FLIGHT_SECONDS), ("EXEC",)]
                in_doubt = True
                replies = await exchange(connection, writes)
                in_doubt = False
                raise_for(replies)
                if replies[-1] is None:
                    return False
                for error in errors_in(replies[-1]):
                    _log.critical("a transaction was applied in part: %s", error)
                    raise StoreError("a part of the change was refused by Redis")
                await self._replicas.have_it(connection, flight, deadline)
                # Not before: a failover may still undo the change, and lines that were published stay.
                if emitted := batch.emitted(replies[-1]):
                    self.emitted(emitted)
        except TROUBLE as error:
            return _Failure(error, in_doubt)
        return True

    async def _was_applied(self, lane: Lane, flight: str, deadline: float) -> bool:
        """Whether the last transaction of the lane was applied; if not, it never will be.

        The transaction watches `flight`: after the APPEND it can no longer succeed, and GET tells whether it has.
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
                        await self._replicas.have_it(connection, flight, deadline)
                    return applied
            except TROUBLE as error:
                await pause_or_give_up(self._servers, error, 0, deadline)
