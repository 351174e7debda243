"""An operation that waits for its transaction, and what is told of the transaction."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from state.update.changes import Once, Read, Step

__all__ = ["Emitted", "Failure", "Flush", "Operation", "fail"]


class Operation(msgspec.Struct, eq=False, kw_only=True):
    """A change of one user that waits to be made: `step`, applied to what `reads` name.

    `deadline` is in the event loop's time; `done` gets the result.
    """

    user: str
    deadline: float
    done: asyncio.Future[Any]
    reads: tuple[Read, ...]
    step: Step[Any]
    once: Once[Any] | None = None


class Flush(msgspec.Struct, frozen=True):
    """What it took to apply some operations together: seconds, lost races, failures, and the error if there was one.

    After too many lost races the operations of several users are applied again, one user at a time.
    """

    operations: int
    seconds: float
    conflicts: int
    failures: int
    error: str | None


class Failure(msgspec.Struct, frozen=True):
    """In place of a result: what a step raised."""

    error: Exception


class Emitted(msgspec.Struct, frozen=True):
    """A line in a stream: the stream's key, its id there, the others it may be published with, and its text."""

    key: str
    id: bytes
    group: str
    line: bytes


def fail(operations: Sequence[Operation], error: Exception) -> None:
    """Raise `error` in every caller that still waits."""
    for operation in operations:
        if not operation.done.done():
            operation.done.set_exception(error)
