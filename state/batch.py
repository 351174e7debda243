"""A batch: the changes that one transaction makes, from the values read to the commands to send. Pure.

Operations are applied in order of arrival, each to what the one before it left. One that raises, or that meets a key
it cannot use, fails alone.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any, Generic, TypeVar

import msgspec
from redis.exceptions import ResponseError

from state import keys
from state.errors import CorruptState, KeyReused
from state.index import Index
from state.servers import Command

__all__ = ["Batch", "Change", "Once", "Operation", "Step", "Values"]

T = TypeVar("T")
Values = Sequence[bytes | None]


class Change(msgspec.Struct, Generic[T], frozen=True):
    """What a step makes of the values of a hash: fields to set, a history entry to append, a result for the caller.

    `replace` drops the fields of the hash that are not among `fields`.
    """

    result: T
    fields: Mapping[bytes, bytes]
    entry: bytes | None = None
    replace: bool = False


Step = Callable[[Values], Change[T]]


class Once(msgspec.Struct, Generic[T], frozen=True):
    """Makes a change happen once: the key that remembers it, what is written there, and the result if it is there
    already."""

    key: str
    request: bytes
    seen: T


class Operation(msgspec.Struct, eq=False):
    """A change that waits for its turn: `step` on `fields` of the hash `key`, or (no step) the removal of `wiped`.

    `history` is the list its entries go to.
    """

    user: str
    deadline: float
    done: asyncio.Future[Any]
    key: str = ""
    fields: tuple[bytes, ...] = ()
    step: Step[Any] | None = None
    history: str | None = None
    once: Once[Any] | None = None
    wiped: tuple[str, ...] = ()


class _Failure(msgspec.Struct, frozen=True):
    error: Exception


class Batch:
    """One attempt at one transaction: the working copy of what was read and of what will be written."""

    def __init__(self, operations: Sequence[Operation], *, history_size: int, marker_seconds: int, now: int) -> None:
        self._operations = operations
        self._history_size = history_size
        self._marker_seconds = marker_seconds
        self._hashes = {operation.key: operation.fields for operation in operations if operation.step}
        self._lists = list(dict.fromkeys(o.history for o in operations if o.history is not None))
        self._markers = list(dict.fromkeys(o.once.key for o in operations if o.once is not None))
        self._indexes = {
            keys.index(user): Index(user, marker_seconds, now)
            for user in dict.fromkeys(o.user for o in operations if o.once is not None)
        }
        self._wiped = [key for operation in operations for key in operation.wiped]
        # What is in Redis, or will be: a hash's values in the order of its fields, a marker's request.
        self._values: dict[str, Any] = {}
        self._removed: dict[str, None] = {}
        self._fields: dict[str, dict[bytes, bytes]] = {}
        self._entries: dict[str, list[bytes]] = {}
        self._remembered: dict[str, bytes] = {}
        self._added: dict[str, list[str]] = {}
        self._results: list[Any] = []

    def reads(self, flight: str) -> list[Command]:
        """WATCH and the reads, `flight` being the key of the operation id. Lists are read only for their type.

        What is to be wiped is watched too: a removal that arrives late must not take what was written since. Indexes
        are not: to be added to at once by two replicas does them no harm.
        """
        reads: list[Command] = [("WATCH", flight, *self._hashes, *self._markers, *self._wiped)]
        reads += [("HMGET", key, *fields) for key, fields in self._hashes.items()]
        reads += [("LLEN", key) for key in self._lists]
        reads += [("GET", key) for key in self._markers]
        reads += [index.read() for index in self._indexes.values()]
        return reads

    def apply(self, replies: Sequence[Any]) -> list[Command]:
        """Apply the operations to the replies to `reads`; the commands that write what came of it, if any."""
        names = (*self._hashes, *self._lists, *self._markers, *self._indexes)
        self._values = dict(zip(names, replies[1:], strict=True))
        for operation in self._operations:
            try:
                self._results.append(self._step(operation, operation.step) if operation.step else None)
                self._wipe(operation.wiped)
            except Exception as error:  # noqa: BLE001  # whatever it is, it is that caller's alone
                self._results.append(_Failure(error))
        return self._writes()

    def settle(self) -> None:
        """Tell every caller its result; those who no longer wait are passed over."""
        for operation, result in zip(self._operations, self._results, strict=True):
            if operation.done.done():
                continue
            if isinstance(result, _Failure):
                operation.done.set_exception(result.error)
            else:
                operation.done.set_result(result)

    def _wipe(self, wiped: tuple[str, ...]) -> None:
        for key in wiped:
            self._removed[key] = None
            self._fields.pop(key, None)
            self._entries.pop(key, None)
            self._values[key] = (None,) * len(self._hashes.get(key, ()))

    def _step(self, operation: Operation, step: Step[Any]) -> Any:
        values, key, once = self._values, operation.key, operation.once
        index = keys.index(operation.user) if once else None
        for used in (key, operation.history, once.key if once else None, index):
            if used is not None and isinstance(values[used], ResponseError):
                raise CorruptState(used, "holds a value of another type")
        if once is not None and values[once.key] is not None:
            if values[once.key] != once.request:
                raise KeyReused("this idempotency key was used before for another request")
            return once.seen
        before = values[key]
        change = step(before)
        if change.replace:
            self._wipe((key,))
            before = values[key]
        if change.fields:
            self._fields.setdefault(key, {}).update(change.fields)
            values[key] = [change.fields.get(name, old) for name, old in zip(operation.fields, before, strict=True)]
        if change.entry is not None and operation.history is not None:
            self._entries.setdefault(operation.history, []).append(change.entry)
        if once is not None and index is not None:
            self._remembered[once.key] = values[once.key] = once.request
            self._added.setdefault(index, []).append(keys.kind_of(once.key))
        return change.result

    def _writes(self) -> list[Command]:
        writes: list[Command] = [("DEL", *self._removed)] if self._removed else []
        for key, fields in self._fields.items():
            writes.append(("HSET", key, *chain.from_iterable(fields.items())))
        for key, entries in self._entries.items():
            writes.append(("RPUSH", key, *entries))
            writes.append(("LTRIM", key, -self._history_size, -1))
        for key, request in self._remembered.items():
            writes.append(("SET", key, request, "EX", self._marker_seconds))
        for key, kinds in self._added.items():
            writes += self._indexes[key].add(kinds, self._values[key])
        return writes
