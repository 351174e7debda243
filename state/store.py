"""The store: every change of a user's state, by one optimistic WATCH/MULTI transaction, written once.

A change is a pure step from the values of a hash to new ones. A replica collects the steps that are waiting and
applies them together: WATCH and read, apply, MULTI ... EXEC, two round trips for all of them. What arrives meanwhile is
the next batch, so batches grow with the load and a request alone waits for nobody.

Exactly once: each transaction also writes an operation id to a key that it watches. When the reply to EXEC is lost or
late, that key is asked, and in asking it is changed: a transaction that was not applied by then never will be.
"""

import asyncio
import logging
import random
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import msgspec
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import AskError, ClusterDownError, MovedError, RedisError, ResponseError, TryAgainError

from state import keys
from state.batch import Batch, Change, Once, Operation, Step, Values
from state.connect import Command, Servers, exchange
from state.errors import ConflictError, CorruptState, StoreError, StoreUnavailable
from state.scan import lent, scan

__all__ = ["TROUBLE", "Change", "Flush", "Once", "Step", "Store", "Values", "reason"]

T = TypeVar("T")
_log: Final = logging.getLogger("oo.store")

# While one flush waits for Redis the other computes. On a cluster each is of one user, so more are worth it.
_LANES: Final = 2
_LANES_ON_CLUSTER: Final = 16
_BATCH: Final = 64
# Lost races before the users of a batch go one by one, and before one user's changes are given up.
_TRIES_TOGETHER: Final = 3
_TRIES_ALONE: Final = 12
# Failures before Redis counts as away, and the part of a request's time that is kept for asking what became of it.
_FAILURES: Final = 3
_RESERVE: Final = 0.25
_PAUSE: Final = 0.002
_LONGEST_PAUSE: Final = 0.1
_FLIGHT_SECONDS: Final = 3_600
_MOVING: Final = (MovedError, AskError, TryAgainError, ClusterDownError)
TROUBLE: Final = (RedisError, OSError, TimeoutError)


class _Lane:
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


class Store:
    """The shared state behind `servers`.

    `timeout` (seconds) bounds every call. `wait_replicas` Redis replicas must have a write before it is acknowledged.
    `observe` is told of every flush.
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
        wait_replicas: int = 0,
        observe: Callable[[Flush], None] = lambda _: None,
    ) -> None:
        self._servers = servers
        self._timeout = timeout
        self._history_size = history_size
        self._marker_seconds = marker_seconds
        self._wait_replicas = wait_replicas
        self._observe = observe
        self._random = random.Random()  # noqa: S311  # jitter
        replica = secrets.token_hex(8)
        self._lanes = [_Lane(f"{replica}:{n}") for n in range(_LANES if servers.spans_users else _LANES_ON_CLUSTER)]
        self._waiting: deque[Operation] = deque()
        self._busy: set[str] = set()
        self._flights: set[asyncio.Task[None]] = set()
        self._called = False

    async def update(
        self,
        user_id: str,
        key: str,
        fields: tuple[bytes, ...],
        step: Step[T],
        *,
        appends: bool = False,
        once: Once[T] | None = None,
    ) -> T:
        """Apply `step` to `fields` of the hash `key` of a user, and return its result.

        `step` may run several times, so it must be pure; what it raises is raised here. `appends` says that it may add
        to the history. Raises KeyReused if the key of `once` holds another request.
        """
        loop = asyncio.get_running_loop()
        operation = Operation(
            user_id,
            loop.time() + self._timeout,
            loop.create_future(),
            key,
            fields,
            step,
            keys.history(user_id) if appends else None,
            once,
        )
        result: T = await self._submit(operation)
        return result

    async def wipe(self, user_id: str, wiped: Sequence[str]) -> None:
        """Remove keys of a user in one transaction; updates under way start from nothing."""
        loop = asyncio.get_running_loop()
        await self._submit(Operation(user_id, loop.time() + self._timeout, loop.create_future(), wiped=tuple(wiped)))

    async def erase(self, user_id: str) -> list[str]:
        """Remove every key of a user, whatever wrote it; the names of those there were, in order.

        All keys on the user's server are looked through, some hundred at a time. An update under way meanwhile starts
        from nothing.
        """
        pattern = keys.everything(user_id)
        try:
            async with lent(self._servers.connection(pattern), self._timeout) as connection:
                pages = scan(connection, pattern, patience=self._timeout)
                names = sorted({name async for page in pages for name in page})
                async with asyncio.timeout(self._timeout):
                    _raise_for(await exchange(connection, [("DEL", *names)] if names else []))
        except TROUBLE as error:
            await self._servers.refresh()
            raise StoreUnavailable(reason(error)) from error
        return names

    async def read(self, key: str, fields: tuple[bytes, ...]) -> Values:
        """The values of `fields` of the hash `key`, None for each that is not there."""
        values: Values = await self._ask(key, ("HMGET", key, *fields))
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
        try:
            async with asyncio.timeout(self._timeout), self._servers.connection(key) as connection:
                replies = await exchange(connection, commands)
                _raise_for(replies)
        except TROUBLE as error:
            await self._servers.refresh()
            raise StoreUnavailable(reason(error)) from error
        counted: int | ResponseError = replies[-1][-1]
        if isinstance(counted, ResponseError):
            raise CorruptState(key, "holds no counter")
        return counted

    async def ping(self) -> None:
        """Ask whether Redis is there and can be written to."""
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
            task = asyncio.get_running_loop().create_task(self._fly(lane, operations, users))
            self._flights.add(task)
            task.add_done_callback(self._flights.discard)

    def _take(self) -> list[Operation]:
        """The next batch: the first that wait, less those whose user is in a flush already."""
        taken: list[Operation] = []
        kept: list[Operation] = []
        soon = asyncio.get_running_loop().time() + self._timeout * _RESERVE
        while self._waiting and len(taken) < _BATCH:
            operation = self._waiting.popleft()
            if operation.done.done():
                continue
            if operation.deadline <= soon:  # with no time left it would only fail those that go with it
                _fail([operation], StoreUnavailable("Redis did not answer in time"))
            elif operation.user in self._busy or not (
                self._servers.spans_users or not taken or operation.user == taken[0].user
            ):
                kept.append(operation)
            else:
                taken.append(operation)
        self._waiting.extendleft(reversed(kept))
        return taken

    async def _fly(self, lane: _Lane, operations: list[Operation], users: set[str]) -> None:
        try:
            if len(users) > 1 and await self._commit(lane, operations):
                return
            for user in users:
                await self._commit(lane, [operation for operation in operations if operation.user == user], alone=True)
        finally:
            _fail(operations, StoreUnavailable("the service stops"))
            self._busy -= users
            self._lanes.append(lane)
            self._launch()

    async def _commit(self, lane: _Lane, operations: list[Operation], *, alone: bool = False) -> bool:
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
            _fail(operations, problem)
        seconds = asyncio.get_running_loop().time() - started
        self._observe(
            Flush(len(operations), seconds, lost, lane.failures, None if problem is None else type(problem).__name__)
        )
        return alone or lost < tries

    async def _apply(self, lane: _Lane, flight: str, operations: list[Operation], deadline: float) -> Batch | None:
        """Apply the operations exactly once; None if another writer was first and nothing was applied."""
        soon = deadline - self._timeout * _RESERVE
        while True:
            batch = Batch(operations, history_size=self._history_size, marker_seconds=self._marker_seconds)
            lane.sent = False
            try:
                async with asyncio.timeout_at(soon):
                    return batch if await self._attempt(lane, flight, batch, soon) else None
            except TROUBLE as error:
                if lane.sent and await self._was_applied(lane, flight, deadline):
                    return batch
                lane.failures += 1
                await self._give_up_or_pause(error, lane.failures, deadline)

    async def _attempt(self, lane: _Lane, flight: str, batch: Batch, deadline: float) -> bool:
        """One WATCH ... EXEC; False if EXEC says that a watched key was changed."""
        async with self._servers.connection(flight) as connection:
            # MULTI comes before the writes are sent: were it refused (an ACL), they would be made one by one.
            replies = await exchange(connection, [*batch.reads(flight), ("MULTI",)])
            _raise_for(replies)
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
            _raise_for(replies)
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
        if not self._wait_replicas:
            return
        milliseconds = max(1, int((deadline - asyncio.get_running_loop().time()) * 900))
        try:
            replies = await exchange(
                connection,
                [("SET", flight, "?", "EX", _FLIGHT_SECONDS), ("WAIT", self._wait_replicas, milliseconds)],
            )
            _raise_for(replies)
        except TROUBLE as error:
            # Not to be tried again: the change is made.
            raise StoreUnavailable(reason(error)) from error
        if replies[1] < self._wait_replicas:
            raise StoreUnavailable("written, but too few Redis replicas have it")

    async def _was_applied(self, lane: _Lane, flight: str, deadline: float) -> bool:
        """Whether the last transaction of the lane was applied; if not, it will not be any more.

        The transaction watches `flight`, so appending to it first decides the matter, and reading it then tells.
        """
        question: list[Command] = [("APPEND", flight, "?"), ("GET", flight), ("EXPIRE", flight, _FLIGHT_SECONDS)]
        while True:
            try:
                async with asyncio.timeout_at(deadline), self._servers.connection(flight) as connection:
                    replies = await exchange(connection, question)
                    _raise_for(replies)
                    answer: bytes = replies[1]
                    applied = answer.startswith(b"%d|" % lane.number)
                    if applied:
                        await self._replicated(connection, flight, deadline)
                    return applied
            except TROUBLE as error:
                await self._give_up_or_pause(error, 0, deadline)

    async def _ask(self, key: str, command: Command) -> Any:
        """The reply to one command that changes nothing."""
        deadline = asyncio.get_running_loop().time() + self._timeout
        failures = 0
        while True:
            try:
                async with asyncio.timeout_at(deadline), self._servers.connection(key) as connection:
                    [reply] = await exchange(connection, [command])
            except TROUBLE as error:
                failures += 1
                await self._give_up_or_pause(error, failures, deadline)
                continue
            if not isinstance(reply, ResponseError):
                return reply
            if str(reply).startswith("WRONGTYPE"):
                raise CorruptState(key, "holds a value of another type")
            failures += 1
            await self._give_up_or_pause(reply, failures, deadline)

    async def _give_up_or_pause(self, error: BaseException, failures: int, deadline: float) -> None:
        """Look anew where the servers are and wait a little, or raise StoreUnavailable if it is no use any more.

        A slot on its way to another node is waited for as long as there is time.
        """
        await self._servers.refresh()
        pause = self._random.uniform(0.5, 1.0) * 0.02 * 2 ** min(failures, 3)
        late = asyncio.get_running_loop().time() + pause >= deadline
        if late or isinstance(error, TimeoutError) or (failures >= _FAILURES and not isinstance(error, _MOVING)):
            raise StoreUnavailable(reason(error)) from error
        await asyncio.sleep(pause)


def _fail(operations: Sequence[Operation], error: Exception) -> None:
    """Raise `error` where an operation is still waited for."""
    for operation in operations:
        if not operation.done.done():
            operation.done.set_exception(error)


def _raise_for(replies: Sequence[Any]) -> None:
    """Raise the first error reply that concerns all of the commands, not one key."""
    for reply in replies:
        if isinstance(reply, ResponseError) and not str(reply).startswith("WRONGTYPE"):
            raise reply


def reason(error: BaseException) -> str:
    """Why Redis did not answer, in words that show no address and no credentials."""
    if isinstance(error, ResponseError):
        return f"Redis refuses: {type(error).__name__}"
    if isinstance(error, TimeoutError):
        return "Redis did not answer in time"
    return "Redis cannot be reached"
