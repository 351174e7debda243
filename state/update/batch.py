"""A batch: the changes that one transaction makes, from the values read to the commands that write. Pure.

Operations of a user are applied in order of arrival, each to what the one before it left; those of different users
side by side. One that raises, or whose key is of the wrong type, fails alone.
"""

from collections.abc import Container, Mapping, Sequence
from typing import Any

from redis.exceptions import ResponseError

from state import keys, parts
from state.errors import CorruptState, KeyReused
from state.redis.exchange import Command
from state.update.agenda import NOTHING, first_members, moved
from state.update.changes import (
    MOMENT,
    Agenda,
    Asking,
    Backlog,
    Change,
    Drop,
    Entry,
    Fields,
    Hash,
    List,
    Moment,
    More,
    Read,
    Remove,
    Schedule,
    Score,
    Watched,
    Write,
    entry,
    place,
)
from state.update.idle import Idle, present, spread
from state.update.index import Index
from state.update.operation import Emitted, Failure, Operation, fail
from state.update.pending import Pending
from state.update.running import run, taken, waves

__all__ = ["Batch"]


class Batch:
    """One attempt at one transaction: a working copy of what was read, and what will be written.

    `now` is in Unix seconds.
    """

    def __init__(
        self,
        operations: Sequence[Operation],
        *,
        history_size: int,
        marker_seconds: int,
        now: int,
        idle: Idle | None = None,
    ) -> None:
        self._idle, self._operations = idle or Idle(), operations
        self._history_size, self._marker_seconds, self._now = history_size, marker_seconds, now
        self.restart()

    def restart(self) -> None:
        """Begin anew, with what the operations read now."""
        self._hashes: dict[str, tuple[bytes, ...]] = {}
        self._lists, self._watched = dict[str, None](), dict[str, None]()
        # Read without being watched: by name, the command.
        self._plain: dict[str, Command] = {}
        self._agendas: dict[str, int] = {}  # how many members are read
        self._parts, self._scores = set[str](), set[str]()
        for operation in self._operations:
            for read in operation.reads:
                self._note(read)
        self._seen: dict[str, str] = {}  # by user, if anyone expires
        if self._idle.is_on:
            self._seen = {operation.user: keys.of(operation.user, keys.SEEN) for operation in self._operations}
            self._plain |= {MOMENT: ("TIME",)}
            for user, key in self._seen.items():
                self._plain |= {key: ("GET", key), spread(user): ("HGET", keys.shared(user), parts.FIELD)}
        self._there: set[str] = set()  # keys that exist, as far as it was read
        once = [(operation.once.key, operation.user) for operation in self._operations if operation.once is not None]
        self._markers = dict.fromkeys(key for key, _ in once)
        self._indexes = {
            keys.index(user): Index(user, self._marker_seconds, self._now)
            for user in dict.fromkeys(user for _, user in once)
        }
        # What Redis holds, or will: a hash's values in the order of its fields, a marker's request.
        self._values: dict[str, Any] = {}
        self._odd = set[str]()  # keys of the wrong type
        self._pending = Pending(self._history_size)
        self._remembered, self._added = dict[str, bytes](), dict[str, list[str]]()
        # A step asked for more values, which its operation names now: nothing may be written.
        self.lacks = False

    def _note(self, read: Read) -> None:
        if type(read) is Hash:  # at half the price of isinstance
            if self._hashes.setdefault(read.key, read.fields) != read.fields:
                raise ValueError("two steps read different fields of one hash")
        elif type(read) is List:
            self._lists[read.key] = None
        elif type(read) is Entry:
            self._plain[entry(read.key, read.field)] = ("HGET", read.key, read.field)
            self._parts.add(read.key)
        elif type(read) is Agenda:
            most = self._agendas[read.key] = max(read.most, self._agendas.get(read.key, 0))
            self._plain[read.key] = ("ZRANGE", read.key, 0, most - 1, "WITHSCORES")
        elif type(read) is Score:
            self._plain[entry(read.key, read.member)] = ("ZSCORE", read.key, read.member)
            self._parts.add(read.key)
            self._scores.add(entry(read.key, read.member))
        elif type(read) is Moment:
            self._plain[MOMENT] = ("TIME",)
        elif type(read) is Backlog:
            self._plain[read.key] = ("XLEN", read.key)
        else:
            self._watched[read.key] = None

    def reads(self, flight: str) -> list[Command]:
        """WATCH and the reads; `flight` is the key of the operation id.

        What may be removed is watched too, for a removal that arrives late must not take what was written since.
        Indexes are not: two replicas may add to one at the same time.
        """
        reads: list[Command] = [("WATCH", flight, *self._hashes, *self._markers, *self._watched, *self._seen.values())]
        reads += [("HMGET", key, *fields) for key, fields in self._hashes.items()]
        reads += [*(("LLEN", key) for key in self._lists), *(("GET", key) for key in self._markers)]
        reads += [index.read() for index in self._indexes.values()]
        reads += self._plain.values()
        return reads

    def apply(self, replies: Sequence[Any]) -> list[Command]:
        """Apply the operations to the replies to `reads`; the commands that write the changes, if there are any."""
        read = (*self._hashes, *self._lists, *self._markers, *self._indexes, *self._plain)
        self._values = dict(zip(read, replies[1:], strict=True))
        for key, most in self._agendas.items():
            if not isinstance(self._values[key], ResponseError):
                self._values[key] = first_members(self._values[key], most)
        for name in self._scores:
            if isinstance(self._values[name], bytes):
                self._values[name] = float(self._values[name])
        self._odd = {key for key, value in self._values.items() if isinstance(value, ResponseError)}
        if self._seen:
            self._there = present(self._values)
        self._results: list[Any] = [None] * len(self._operations)
        held = set[str]()  # users whose other steps would ask for the same
        self._last = {operation.user: operation for operation in self._operations}
        for places in waves(self._operations):
            for at, result in run({at: self._step(self._operations[at], held) for at in places}):
                self._results[at] = result
                if isinstance(result, Failure) and isinstance(result.error, More):
                    self._operations[at].reads += result.error.reads
                    self.lacks = True
                    held |= {self._operations[at].user} if result.error.for_all else set()
        return self._writes()

    def emitted(self, replies: Sequence[Any]) -> list[Emitted]:
        """What was added to streams, by the replies to `apply`'s commands."""
        pairs = zip(self._pending.emitted, replies, strict=False)
        return [Emitted(one.key, name, one.group, one.line) for one, name in pairs]

    def settle(self) -> None:
        """Give every caller its result; callers that no longer wait are skipped."""
        for operation, result in zip(self._operations, self._results, strict=True):
            if isinstance(result, Failure):
                fail([operation], result.error)
            elif not operation.done.done():
                operation.done.set_result(result)

    def _step(self, operation: Operation, held: Container[str]) -> Asking[Any]:
        if operation.user in held:
            return None
        if self._odd:
            for read in operation.reads:
                if not isinstance(read, Watched):  # a key of the wrong type can still be removed
                    self._check(read.key, place(read))
        once = operation.once
        if once is None:
            change = yield from self._applied(operation)
        else:
            index = keys.index(operation.user)
            self._check(once.key)
            self._check(index)
            before = self._values[once.key]
            if before is not None:
                if before != once.request:
                    raise KeyReused("this idempotency key was used before for another request")
                return once.seen
            change = yield from self._applied(operation)
            self._remembered[once.key] = self._values[once.key] = once.request
            self._added.setdefault(index, []).append(keys.kind_of(once.key))
        return change.result

    def _applied(self, operation: Operation) -> Asking[Change[Any]]:
        change = yield from taken(operation.step, self._values)
        for write in change.writes:
            if write.key not in self._values and write.key not in self._watched and write.key not in self._parts:
                raise LookupError(f"a step writes {write.key} without reading it")
        for write in change.writes:
            self._pending.note(write)
            if type(write) is Remove or self._last[operation.user] is not operation:
                self._show_write(write)
        return change

    def _check(self, key: str, name: str = "") -> None:
        if (name or key) in self._odd:
            raise CorruptState(key, "holds a value of another type")

    def _show_write(self, write: Write) -> None:
        """Let the steps after this one see a write; what was removed matters to what expires, too."""
        key = write.key
        if type(write) is Fields:
            new = write.values
            if key in self._hashes:
                self._values[key] = [
                    new.get(name, old) for name, old in zip(self._hashes[key], self._values[key], strict=True)
                ]
            else:
                self._show({entry(key, name): value for name, value in new.items()})
        elif type(write) is Drop:
            self._show({entry(key, name): None for name in write.fields})
        elif type(write) is Schedule:
            if key in self._agendas:
                self._values[key] = moved(self._values[key], write.scores)
            else:
                self._show({entry(key, member): score for member, score in write.scores.items()})
        elif type(write) is Remove:
            self._there.discard(key)
            self._values[key] = NOTHING if key in self._agendas else (None,) * len(self._hashes.get(key, ()))
            fields = [name for name in self._plain if name.startswith(f"{key} ")]
            self._odd -= {key, *fields}
            self._show(dict.fromkeys(fields))

    def _show(self, entries: Mapping[str, bytes | float | None]) -> None:
        """Let later steps see the fields and scores that any step of this batch reads."""
        for name, value in entries.items():
            if name in self._plain:
                self._values[name] = value

    def _writes(self) -> list[Command]:
        writes = self._pending.commands()
        writes += [("SET", key, request, "EX", self._marker_seconds) for key, request in self._remembered.items()]
        for key, kinds in self._added.items():
            writes += self._indexes[key].add(kinds, self._values[key])
        return [*writes, *self._idle.commands(self._seen, self._pending, self._there, self._values)]
