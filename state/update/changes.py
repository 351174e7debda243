"""A change: what a step reads of one user, and what it writes.

A step is a pure function from values to a `Change`. It may run several times, each time on newer values.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

import msgspec

__all__ = [
    "Append",
    "Change",
    "Fields",
    "Hash",
    "List",
    "Once",
    "Read",
    "Remove",
    "Step",
    "Values",
    "Watched",
    "Write",
]

T = TypeVar("T")


class Hash(msgspec.Struct, frozen=True):
    """Read `fields` of a hash: their values in this order, None for a missing one.

    All steps that read a hash name the same fields.
    """

    key: str
    fields: tuple[bytes, ...]


class List(msgspec.Struct, frozen=True):
    """Append to a list. Only its type is read, and other writers may append at the same time."""

    key: str


class Watched(msgspec.Struct, frozen=True):
    """Read nothing of a key, but start over if another writer changes it meanwhile."""

    key: str


Read = Hash | List | Watched


class Fields(msgspec.Struct, frozen=True):
    """Set fields of a hash; its others stay."""

    key: str
    values: Mapping[bytes, bytes]


class Append(msgspec.Struct, frozen=True):
    """Add an entry to a list, which keeps its last `history_size` entries."""

    key: str
    entry: bytes


class Remove(msgspec.Struct, frozen=True):
    """Remove a key of any type."""

    key: str


Write = Fields | Append | Remove
# By key: what was read, or what the steps before left.
Values = Mapping[str, Sequence[bytes | None]]


class Change(msgspec.Struct, Generic[T], frozen=True):
    """What a step returns: a result for the caller, and the writes, which are made in this order."""

    result: T
    writes: tuple[Write, ...] = ()


Step = Callable[[Values], Change[T]]


class Once(msgspec.Struct, Generic[T], frozen=True):
    """Make a change once: `request` is stored under `key`, and where it is stored already the result is `seen`."""

    key: str
    request: bytes
    seen: T
