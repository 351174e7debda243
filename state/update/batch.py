"""A batch: the changes that one transaction makes, from the values read to the commands that write. Pure.

Operations of a user are applied in order of arrival, each to what the one before it left; those of different users
side by side. One that raises, or whose key is of the wrong type, fails alone.
"""

from collections.abc import Container, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final

from redis.exceptions import ResponseError

from state import keys, parts
from state.errors import CorruptState, KeyReused
from state.redis.exchange import Command, ordinary, pack
from state.update.agenda import NOTHING, first_members, moved
from state.update.changes import (
    Asking,
    Change,
    Drop,
    Fields,
    Moment,
    More,
    Remove,
    Schedule,
    Watched,
    Write,
    entry,
)
from state.update.idle import Idle, present, spread
from state.update.index import Index
from state.update.operation import Emitted, Failure, Operation, fail
from state.update.pending import Pending
from state.update.reading import Reading
from state.update.running import run, waves

__all__ = ["Batch"]

_KEY: Final = attrgetter("key")
_OTHER_TYPE: Final = "holds a value of another type"


class _Sound(dict[str, Any]):
    """Values of which some have the wrong type. A step may look at what only another step of its user reads."""

    def __getitem__(self, place: str) -> Any:
        value = super().__getitem__(place)
        if isinstance(value, ResponseError):
            raise CorruptState(place.partition(" ")[0], _OTHER_TYPE)
        return value


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
        self.wrote = True  # unless it turns out that there was nothing to write
        self.restart()

    def restart(self) -> None:
        """Begin anew, with what the operations read now."""
        reading = self._reading = Reading()
        for operation in self._operations:
            for read in operation.reads:
                read.enter(reading)
        once = [(operation.once.key, operation.user) for operation in self._operations if operation.once is not None]
        self._indexes = {
            keys.index(user): Index(user, self._marker_seconds, self._now)
            for user in dict.fromkeys(user for _, user in once)
        }
        for key, _ in once:
            reading.plain[key] = pack(("GET", key))
            reading.watched[key] = None
        reading.plain |= {key: pack(index.read()) for key, index in self._indexes.items()}
        self._seen: dict[str, str] = {}  # by user, if anyone expires
        if self._idle.is_on:
            self._seen = {operation.user: keys.of(operation.user, keys.SEEN) for operation in self._operations}
            Moment().enter(reading)
            for user, key in self._seen.items():
                reading.plain[key] = pack(("GET", key))
                reading.plain[spread(user)] = pack(("HGET", keys.shared(user), parts.FIELD))
                reading.watched[key] = None
        # What Redis holds, or will: a hash's values in the order of its fields, a marker's request.
        self._values: dict[str, Any] = {}
        self._odd = set[str]()  # places of what has the wrong type
        self._pending = Pending(self._history_size)
        self._remembered, self._added = dict[str, bytes](), dict[str, list[str]]()
        # A step asked for more values, which its operation names now: nothing may be written.
        self.lacks = False

    def reads(self, flight: str) -> list[bytes]:
        """WATCH and the reads, packed; `flight` is the key of the operation id.

        What may be removed is watched too, for a removal that arrives late must not take what was written since.
        Indexes are not: two replicas may add to one at the same time.
        """
        return self._reading.commands(flight)

    def apply(self, replies: Sequence[Any]) -> list[Command]:
        """Apply the operations to the replies to `reads`; the commands that write the changes, if there are any."""
        reading = self._reading
        values = self._values = reading.values(replies)
        if not ordinary(replies):
            self._odd = {name for name, value in values.items() if isinstance(value, ResponseError)}
        for key in reading.agendas.keys() - self._odd:
            values[key] = first_members(values[key], reading.agendas[key])
        for name in reading.scores - self._odd:
            values[name] = None if values[name] is None else float(values[name])
        self._there = present(values) if self._seen else set()
        self._writable = {*values, *reading.watched, *reading.parts}
        self._results: list[Any] = [None] * len(self._operations)
        held = set[str]()  # users whose other steps would ask for the same
        self._last = {operation.user: operation for operation in self._operations}
        alone = len(self._last) == len(self._operations)
        for places in [range(len(self._operations))] if alone else waves(self._operations):
            for at, result in run({at: self._step(self._operations[at], held) for at in places}):
                self._results[at] = result
                if type(result) is Failure and isinstance(result.error, More):
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
            if type(result) is Failure:
                fail([operation], result.error)
            elif not operation.done.done():
                operation.done.set_result(result)

    def _step(self, operation: Operation, held: Container[str]) -> Asking[Any]:
        if operation.user in held:
            return None
        values = self._values
        if self._odd:
            self._check(operation)
            values = _Sound(values)
        once = operation.once
        if once is not None and (before := self._values[once.key]) is not None:
            if before != once.request:
                raise KeyReused("this idempotency key was used before for another request")
            return once.seen
        made = operation.step(values)
        change = made if isinstance(made, Change) else (yield from made)
        if not self._writable.issuperset(map(_KEY, change.writes)):
            raise LookupError(f"a step writes a key without reading it: {[write.key for write in change.writes]}")
        self._pending.note(change.writes)
        if self._last[operation.user] is not operation:
            for write in change.writes:
                self._show_write(write)
        if once is not None:
            self._remembered[once.key] = self._values[once.key] = once.request
            self._added.setdefault(keys.index(operation.user), []).append(keys.kind_of(once.key))
        return change.result

    def _check(self, operation: Operation) -> None:
        """Raise CorruptState if the operation reads a key of the wrong type, which can still be removed."""
        read = [(one.place, one.key) for one in operation.reads if not isinstance(one, Watched)]
        if operation.once is not None:
            read += [(key, key) for key in (operation.once.key, keys.index(operation.user))]
        for name, key in read:
            if name in self._odd:
                raise CorruptState(key, _OTHER_TYPE)

    def _show_write(self, write: Write) -> None:
        """Let the steps after this one see a write."""
        key, agendas = write.key, self._reading.agendas
        if type(write) is Fields:
            new = write.values
            if fields := self._reading.hashes.get(key):
                self._values[key] = [new.get(name, old) for name, old in zip(fields, self._values[key], strict=True)]
            else:
                self._show({entry(key, name): value for name, value in new.items()})
        elif type(write) is Drop:
            self._show({entry(key, name): None for name in write.fields})
        elif type(write) is Schedule:
            if key in agendas:
                self._values[key] = moved(self._values[key], write.scores)
            else:
                self._show({entry(key, member): score for member, score in write.scores.items()})
        elif type(write) is Remove:
            self._values[key] = NOTHING if key in agendas else (None,) * len(self._reading.hashes.get(key, ()))
            fields_there = [name for name in self._reading.plain if name.startswith(f"{key} ")]
            self._odd -= {key, *fields_there}
            self._show(dict.fromkeys(fields_there))

    def _show(self, entries: Mapping[str, bytes | float | None]) -> None:
        """Let later steps see the fields and scores that any step of this batch reads."""
        for name, value in entries.items():
            if name in self._reading.plain:
                self._values[name] = value

    def _writes(self) -> list[Command]:
        writes = self._pending.commands(self._values)
        expiring = self._idle.commands(self._seen, writes, self._there, self._values)
        writes += [("SET", key, request, "EX", self._marker_seconds) for key, request in self._remembered.items()]
        for key, kinds in self._added.items():
            writes += self._indexes[key].add(kinds, self._values[key])
        return [*writes, *expiring]
