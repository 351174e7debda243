"""The store: what can be asked of the state, and how changes are gathered into batches.

A change is a pure step from named values of one user to the writes that it wants. A replica collects the steps that are
waiting and applies them together in one transaction; what arrives meanwhile is the next batch, so batches grow with the
load and a request alone waits for nobody.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import Context
from typing import Any, Final, TypeVar

from redis.exceptions import ResponseError

from state import keys
from state.erasure import Eraser
from state.errors import CorruptState, StoreUnavailable
from state.redis.failure import TROUBLE, Outage, pause_or_give_up, raise_for, reason
from state.redis.servers import Command, Servers, exchange
from state.update.batch import Change, Once, Operation, Read, Remove, Step, Watched
from state.update.transaction import RESERVE, Flush, Lane, Transactions, fail

__all__ = ["Store"]

T = TypeVar("T")

# While one flush waits for Redis the other computes. On a cluster each is of one user, so more are worth it.
_LANES: Final = 2
_LANES_ON_CLUSTER: Final = 16
_BATCH: Final = 64


class Store:
    """The shared state behind `servers`.

    `timeout` (seconds) bounds every call. `wait_replicas` Redis replicas must have a write before it is acknowledged;
    None is 1 where a replica may become the master, and else 0. `observe` is told of every flush.
    All methods raise StoreUnavailable when Redis is away, ConflictError when other writers were always first, and
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
    ) -> None:
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
        )
        self._eraser = Eraser(servers, timeout=timeout, marker_seconds=marker_seconds, outage=self._outage)
        replica = secrets.token_hex(8)
        if not servers.spans_users:
            keys.flight("", "")  # what it computes once takes a tenth of a second, in which a request would wait
        self._lanes = [Lane(f"{replica}:{n}") for n in range(_LANES if servers.spans_users else _LANES_ON_CLUSTER)]
        self._waiting: deque[Operation] = deque()
        self._busy: set[str] = set()
        self._flights: set[asyncio.Task[None]] = set()
        self._called = False

    async def update(self, user_id: str, reads: tuple[Read, ...], step: Step[T], *, once: Once[T] | None = None) -> T:
        """Apply `step` to what `reads` name of a user, make its writes, and return its result.

        `step` may run several times, so it must be pure; what it raises is raised here. It may write what `reads`
        name, and nothing else. Raises KeyReused if the key of `once` holds another request.
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
        result: T = await self._submit(operation)
        return result

    async def wipe(self, user_id: str, wiped: Sequence[str]) -> None:
        """Remove keys of a user in one transaction; updates under way start from nothing."""
        removal = Change(None, tuple(Remove(key) for key in wiped))
        await self.update(user_id, tuple(Watched(key) for key in wiped), lambda _: removal)

    async def erase(self, user_id: str, fixed: Sequence[str], *, thorough: bool = False) -> list[str]:
        """Remove every key of a user; the names of those there were, in order.

        `fixed` are the keys with names that are known; idempotency keys are found by the user's index. `thorough` also
        looks through all keys, as is done anyway in the time after an upgrade in which some may be in no index.
        Raises ConflictError if rewards with new idempotency keys are always first.
        """
        return await self._eraser.erase(user_id, fixed, thorough=thorough)

    async def note_index(self) -> None:
        """Remember in Redis, if it is not known there, that from now on idempotency keys are in their user's index."""
        await self._eraser.note_index()

    async def read(self, key: str, fields: tuple[bytes, ...]) -> Sequence[bytes | None]:
        """The values of `fields` of the hash `key`, None for each that is not there."""
        values: Sequence[bytes | None] = await self._ask(key, ("HMGET", key, *fields))
        return values

    async def history(self, user_id: str) -> list[bytes]:
        """The entries of a user's history, oldest first."""
        key = keys.history(user_id)
        entries: list[bytes] = await self._ask(key, ("LRANGE", key, -self._history_size, -1))
        return entries

    async def count(self, key: str, seconds: int) -> int:
        """Add 1 to the counter `key`, which starts anew `seconds` after its first count; what it has come to.

        One round trip. A reply that is lost counts all the same.
        """
        commands: list[Command] = [("MULTI",), ("SET", key, 0, "EX", seconds, "NX"), ("INCR", key), ("EXEC",)]
        with self._outage.watch():
            try:
                async with asyncio.timeout(self._timeout), self._servers.connection(key) as connection:
                    replies = await exchange(connection, commands)
                    raise_for(replies)
            except TROUBLE as error:
                await self._servers.refresh()
                raise StoreUnavailable(reason(error)) from error
        counted: int | ResponseError = replies[-1][-1]
        if isinstance(counted, ResponseError):
            raise CorruptState(key, "holds no counter")
        return counted

    async def ping(self) -> None:
        """Ask whether Redis is there; of a cluster, whether a part of it is."""
        await self._ask("", ("PING",))

    async def close(self) -> None:
        """Let what is under way end, then close the connections."""
        while self._flights:
            await asyncio.wait(self._flights)
        await self._servers.close()

    async def _submit(self, operation: Operation) -> Any:
        self._waiting.append(operation)
        if self._lanes and not self._called:
            # After the requests that arrived in the same turn of the loop, so that they go together.
            self._called = True
            asyncio.get_running_loop().call_soon(self._launch)
        return await operation.done

    def _launch(self) -> None:
        self._called = False
        while self._lanes and (operations := self._take()):
            lane = self._lanes.pop()
            users = {operation.user for operation in operations}
            self._busy |= users
            # In a context of its own: what it logs belongs to several requests, not to the one that came first.
            task = asyncio.get_running_loop().create_task(self._fly(lane, operations, users), context=Context())
            self._flights.add(task)
            task.add_done_callback(self._flights.discard)

    def _take(self) -> list[Operation]:
        """The next batch: the first that wait, less those whose user is in a flush already."""
        taken: list[Operation] = []
        kept: list[Operation] = []
        reserve = self._timeout * RESERVE
        soon = asyncio.get_running_loop().time() + reserve
        while self._waiting and len(taken) < _BATCH:
            if taken and self._waiting[0].deadline > taken[0].deadline + reserve:
                break  # those that wait since long have less time, and a batch has no more than its oldest
            operation = self._waiting.popleft()
            if operation.done.done():
                continue
            if operation.deadline <= soon:  # with no time left it would only fail those that go with it
                fail([operation], StoreUnavailable("Redis did not answer in time"))
            elif operation.user in self._busy or not (
                self._servers.spans_users or not taken or operation.user == taken[0].user
            ):
                kept.append(operation)
            else:
                taken.append(operation)
        self._waiting.extendleft(reversed(kept))
        return taken

    async def _fly(self, lane: Lane, operations: list[Operation], users: set[str]) -> None:
        try:
            if len(users) > 1 and await self._transactions.commit(lane, operations):
                return
            for user in users:
                await self._transactions.commit(
                    lane, [operation for operation in operations if operation.user == user], alone=True
                )
        finally:
            fail(operations, StoreUnavailable("the service stops"))
            self._busy -= users
            self._lanes.append(lane)
            self._launch()

    async def _ask(self, key: str, command: Command) -> Any:
        """The reply to one command that changes nothing."""
        with self._outage.watch():
            return await self._answer(key, command)

    async def _answer(self, key: str, command: Command) -> Any:
        deadline = asyncio.get_running_loop().time() + self._timeout
        failures = 0
        while True:
            try:
                async with asyncio.timeout_at(deadline), self._servers.connection(key) as connection:
                    [reply] = await exchange(connection, [command])
            except TROUBLE as error:
                failures += 1
                await pause_or_give_up(self._servers, error, failures, deadline)
                continue
            if not isinstance(reply, ResponseError):
                return reply
            if str(reply).startswith("WRONGTYPE"):
                raise CorruptState(key, "holds a value of another type")
            failures += 1
            await pause_or_give_up(self._servers, reply, failures, deadline)
