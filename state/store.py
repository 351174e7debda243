"""The store: all that can be asked of the state, and how changes are gathered into batches.

A change is a pure step from named values of one user to writes. A replica applies all steps that are waiting in one
transaction; those that arrive meanwhile form the next batch. So batches grow with the load, and a single request does
not wait for others.
"""

import asyncio
import math
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import Context
from typing import Final, TypeVar

from state import keys
from state.asking import Asker, counted, decisions
from state.erasure import Eraser, Last, removal
from state.errors import CorruptState, StoreUnavailable
from state.loops import Loops
from state.redis.failure import Outage
from state.redis.servers import Servers
from state.shared import Shared
from state.slots.due import Due
from state.slots.outbox import Outbox
from state.update.changes import Once, Read, Step
from state.update.idle import Idle
from state.update.operation import Emitted, Flush, Operation, fail
from state.update.transaction import RESERVE, Lane, Transactions

__all__ = ["Store"]

T = TypeVar("T")

# While one flush waits for Redis, the other computes. On a cluster, and in turn, each is of one user only.
_LANES: Final = 2
_LANES_IN_TURN: Final = 4
_LANES_ON_CLUSTER: Final = 16
_BATCH: Final = 64


class Store:
    """The shared state behind `servers`.

    `timeout` (seconds) limits every call. `wait_replicas` Redis replicas must have a write before it is acknowledged;
    None is 1 where a replica may become the master, and else 0. `observe` gets every flush. `idle` says when users
    expire. All methods raise StoreUnavailable when Redis fails, ConflictError when other writers always came first, and
    CorruptState for a key that holds something else.
    """

    def __init__(
        self,
        servers: Servers,
        *,
        timeout: float,
        history_size: int,
        marker_seconds: int,
        wait_replicas: int | None = 0,
        observe: Callable[[Flush], None] = lambda _: None,
        idle: Idle | None = None,
    ) -> None:
        self.idle = idle or Idle()
        self._servers = servers
        self._timeout = timeout
        self._history_size = history_size
        self._outage = Outage()
        self._transactions = Transactions(
            servers,
            timeout=timeout,
            history_size=history_size,
            marker_seconds=marker_seconds,
            wait_replicas=wait_replicas,
            observe=observe,
            outage=self._outage,
            idle=self.idle,
        )
        self._eraser = Eraser(servers, timeout=timeout, marker_seconds=marker_seconds, outage=self._outage)
        self._asker = Asker(servers, timeout=timeout, outage=self._outage)
        self.shared = Shared(servers, timeout=timeout, outage=self._outage)
        self.due = Due(servers, timeout=timeout, outage=self._outage)
        self.outbox = Outbox(servers, timeout=timeout, outage=self._outage)
        self.loops = Loops(servers, timeout=timeout, outage=self._outage, wait_replicas=wait_replicas)
        replica = secrets.token_hex(8)
        if not servers.spans_users:
            keys.flight("", "")  # computes a table once, in a tenth of a second, for which a request would wait
        self._lanes = [Lane(f"{replica}:{n}") for n in range(_LANES if servers.spans_users else _LANES_ON_CLUSTER)]
        self._lanes_in_turn = [Lane(f"{replica}:turn{n}") for n in range(_LANES_IN_TURN)]
        self._waiting, self._busy = deque[Operation](), set[str]()
        self._flights: set[asyncio.Task[None]] = set()
        self._called = False

    async def update(self, user_id: str, reads: tuple[Read, ...], step: Step[T], *, once: Once[T] | None = None) -> T:
        """Apply `step` to the values that `reads` name, make its writes, and return its result.

        `step` may run several times, so it must be pure; what it raises is raised here. It may write only what `reads`
        name. Raises KeyReused if the key of `once` holds another request.
        """
        loop = asyncio.get_running_loop()
        operation = Operation(
            user=user_id,
            deadline=loop.time() + self._timeout,
            done=loop.create_future(),
            reads=reads,
            step=step,
            once=once,
        )
        self._waiting.append(operation)
        if self._lanes and not self._called:
            # After all requests of this turn of the event loop, so that they share a batch.
            self._called = True
            loop.call_soon(self._launch)
        result: T = await operation.done
        return result

    def tell_emitted(self, take: Callable[[list[Emitted]], None]) -> None:
        """Have `take` get what updates add to streams, unless Redis's reply is lost."""
        self._transactions.emitted = take

    async def wipe(self, user_id: str, wiped: Sequence[str], last: Last | None = None) -> None:
        """Remove keys of a user in one transaction; updates that run meanwhile start over from nothing.

        Then nothing of the user is due. `last` makes the user's last line of the log.
        """
        due, outbox = self.due.key(user_id), self.outbox.key(user_id)
        with suppress(CorruptState):  # what cannot be read can still be removed
            await self.update(user_id, *removal(user_id, wiped, due, outbox, last))
            return
        await self.update(user_id, *removal(user_id, wiped, due, outbox, None, knows=False))

    async def erase(
        self, user_id: str, fixed: Sequence[str], *, thorough: bool = False, last: Last | None = None
    ) -> list[str]:
        """Remove every key of a user; the sorted names of those that existed.

        `fixed` are the keys with known names; idempotency keys are found by the user's index. With `thorough` all keys
        are searched too, as always for a while after an upgrade from a version without indexes. `last` makes the user's
        last line of the log. Raises ConflictError if rewards with new idempotency keys always come first.
        """
        return await self._eraser.erase(user_id, fixed, thorough=thorough, last=last)

    async def note_index(self) -> None:
        """Note in Redis, unless it is noted already, that from now on idempotency keys are in their user's index."""
        await self._eraser.note_index()

    async def note_idle(self) -> None:
        """Note in Redis that users expire; if they do not, find out whether some were given a moment before."""
        self.idle.ends = await self.shared.note_idle(self.idle.days)

    async def read(self, key: str, fields: tuple[bytes, ...]) -> Sequence[bytes | None]:
        """The values of `fields` of the hash `key`, None for a missing one."""
        return list(await self._asker.ask(key, ("HMGET", key, *fields)))

    async def history(self, user_id: str) -> list[bytes]:
        """The entries of a user's history, oldest first."""
        key = keys.history(user_id)
        return list(await self._asker.ask(key, ("LRANGE", key, -self._history_size, -1)))

    async def decisions(self, user_id: str) -> dict[bytes, bytes]:
        """All decisions of a user by local id; of one with large loops, those that must be looked at next."""
        return await decisions(self._asker, user_id)

    async def count(self, key: str, seconds: int) -> int:
        """Add 1 to the counter `key`, which expires `seconds` after its first count; its new value.

        One round trip, never tried again: a count whose reply is lost may have been made.
        """
        with self._outage.watch():
            return await counted(self._servers, key, seconds, patience=self._timeout)

    async def ping(self) -> None:
        """Check that Redis takes writes, without making one; of a cluster, that one of its masters answers."""
        await self._asker.probe()

    async def close(self) -> None:
        """Wait for flushes that are under way, then close the connections."""
        while self._flights:
            await asyncio.wait(self._flights)
        await self._servers.close()

    def _launch(self) -> None:
        self._called = False
        while self._lanes and (operations := self._take()):
            self._busy |= (users := {operation.user for operation in operations})
            in_turn = len(users) == 1 and self._transactions.turns.wanted(operations[0].user)
            lanes = self._lanes_in_turn if in_turn else self._lanes
            flight = self._fly(lanes, lanes.pop(), operations, users)
            # In a context of its own: what it logs belongs to several requests, not to the first.
            task = asyncio.get_running_loop().create_task(flight, context=Context())
            self._flights.add(task)
            task.add_done_callback(self._flights.discard)

    def _take(self) -> list[Operation]:
        """The next batch: the operations that wait longest, without those of users that are in a flush already."""
        taken, kept = list[Operation](), list[Operation]()
        waiting, busy, reserve = self._waiting, self._busy, self._timeout * RESERVE
        some_wait = not self._servers.spans_users or bool(self._transactions.turns.raced)
        soon, latest = asyncio.get_running_loop().time() + reserve, math.inf
        while waiting and len(taken) < _BATCH:
            operation = waiting[0]
            if operation.deadline > latest:
                break  # a batch has the time of its oldest: younger ones go apart
            waiting.popleft()
            if operation.done.done():
                continue
            if operation.deadline <= soon:  # it would make its whole batch fail
                fail([operation], StoreUnavailable("Redis did not answer in time"))
            elif (user := operation.user) in busy or (
                some_wait and self._is_apart(user, taken[0].user if taken else user)
            ):
                kept.append(operation)
            else:
                if not taken:
                    latest = operation.deadline + reserve
                taken.append(operation)
        self._waiting.extendleft(reversed(kept))
        return taken

    def _is_apart(self, user: str, first: str) -> bool:
        """Whether a user cannot be in a batch with the `first`: on a cluster, and in turn, each is alone."""
        turns = self._transactions.turns
        if user != first:
            return not self._servers.spans_users or turns.wanted(user) or turns.wanted(first)
        return not self._lanes_in_turn and turns.wanted(user)

    async def _in_turn(self, lane: Lane, operations: list[Operation]) -> None:
        """Make the changes of a user whom others change too, with those that came while they were waited for."""
        user, last = operations[0].user, operations[0].deadline + self._timeout * RESERVE
        in_turn = await self._transactions.turn(operations)
        soon = asyncio.get_running_loop().time() + self._timeout * RESERVE
        kept: deque[Operation] = deque()
        for each in self._waiting:
            fits = each.user == user and len(operations) < _BATCH and soon < each.deadline <= last
            (operations if fits else kept).append(each)
        self._waiting = kept
        await self._transactions.commit(lane, operations, alone=True, in_turn=in_turn)

    async def _fly(self, lanes: list[Lane], lane: Lane, operations: list[Operation], users: set[str]) -> None:
        try:
            if lanes is self._lanes_in_turn:
                await self._in_turn(lane, operations)
            elif len(users) == 1 or not await self._transactions.commit(lane, operations):
                for user in users:
                    mine = [operation for operation in operations if operation.user == user]
                    await self._transactions.commit(lane, mine, alone=True)
        finally:
            fail(operations, StoreUnavailable("the service is shutting down"))
            self._busy -= users
            lanes.append(lane)
            self._launch()
