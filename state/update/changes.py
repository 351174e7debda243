"""A change: what a step reads of one user, and what it writes.

A step is a pure function from values to a `Change`, or a generator of one. It may run several times, on newer values.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar

import msgspec

__all__ = [
    "AGENDA",
    "FEW",
    "MOMENT",
    "Agenda",
    "Append",
    "Asking",
    "Backlog",
    "Change",
    "Drop",
    "Emit",
    "Entry",
    "Fields",
    "Hash",
    "List",
    "Moment",
    "More",
    "Once",
    "Read",
    "Remove",
    "Schedule",
    "Score",
    "Step",
    "Values",
    "Watched",
    "Work",
    "Write",
    "entry",
    "place",
]

T = TypeVar("T")

# Where the values have Redis's clock.
MOMENT: Final = "TIME"
# Members of a sorted set that are read at once, and to see whether more are needed: each costs Redis a microsecond.
AGENDA: Final = 32
FEW: Final = 2


def entry(key: str, field: bytes) -> str:
    """Where the values have one field of a hash."""
    return f"{key} {field.decode()}"


class More(Exception):  # not an error: a step asks for what it lacks
    """Raised by a step: it needs these values too, as the user's others do if `for_all`, and runs again with them."""

    def __init__(self, reads: "tuple[Read, ...]", *, for_all: bool = False) -> None:
        super().__init__("more values are needed")
        self.reads, self.for_all = reads, for_all


class Hash(msgspec.Struct, frozen=True):
    """Read `fields` of a hash, in this order, None for a missing one. All steps that read a hash name the same ones."""

    key: str
    fields: tuple[bytes, ...]


class List(msgspec.Struct, frozen=True):
    """Append to a list. Only its type is read, and other writers may append at the same time."""

    key: str


class Watched(msgspec.Struct, frozen=True):
    """Read nothing of a key, but start over if another writer changes it meanwhile."""

    key: str


class Entry(msgspec.Struct, frozen=True):
    """Read one `field` of a hash of any size: its value, or None, under `entry(key, field)`.

    Only its user's other keys are watched: whoever writes such a field writes one of these too."""

    key: str
    field: bytes


class Agenda(msgspec.Struct, frozen=True):
    """Read the first `most` members of a sorted set, as a `Next`. It is not watched either."""

    key: str
    most: int = FEW


class Score(msgspec.Struct, frozen=True):
    """Read the score or None of a `member` of a set that many users share, under `entry(key, member)`; not watched."""

    key: str
    member: bytes


class Moment(msgspec.Struct, frozen=True):
    """Read Redis's clock: seconds and microseconds, under `MOMENT`."""

    key: str = MOMENT


class Backlog(msgspec.Struct, frozen=True):
    """Append to a stream that many users share. Only its length is read, and other writers may append too."""

    key: str


Read = Hash | List | Watched | Entry | Agenda | Score | Moment | Backlog


def place(read: Read) -> str:
    """Where the values have what is read."""
    if isinstance(read, Entry):
        return entry(read.key, read.field)
    return entry(read.key, read.member) if isinstance(read, Score) else read.key


class Fields(msgspec.Struct, frozen=True):
    """Set fields of a hash; its others stay."""

    key: str
    values: Mapping[bytes, bytes]


class Append(msgspec.Struct, frozen=True):
    """Add an entry to a list, which keeps its last `history_size` entries."""

    key: str
    entry: bytes


class Emit(msgspec.Struct, frozen=True):
    """Add a line to a stream; `group` says which others it may be published with."""

    key: str
    group: str
    line: bytes


class Remove(msgspec.Struct, frozen=True):
    """Remove a key of any type; what is large `lazily`, so that Redis does not stand still meanwhile."""

    key: str
    lazily: bool = False


class Drop(msgspec.Struct, frozen=True):
    """Remove fields of a hash; its others stay."""

    key: str
    fields: tuple[bytes, ...]


class Schedule(msgspec.Struct, frozen=True):
    """Add members to a sorted set with their scores, or move them; None removes one."""

    key: str
    scores: Mapping[bytes, int | None]


Write = Fields | Append | Remove | Drop | Schedule | Emit
# By key: what was read, or what the steps before left.
Values = Mapping[str, Any]


class Change(msgspec.Struct, Generic[T], frozen=True):
    """What a step returns: a result for the caller, and the writes, which are made in this order."""

    result: T
    writes: tuple[Write, ...] = ()


class Work(msgspec.Struct, frozen=True):
    """What a step wants computed: `how` takes what any number of steps want, and gives each its answer, in order."""

    how: Callable[[Sequence[Any]], Sequence[Any]]
    what: Any


# A step that wants answers yields for what, and is sent them: all that a batch's steps wait for is computed together.
Asking = Generator[Sequence[Work], Sequence[Any], T]
Step = Callable[[Values], Change[T] | Asking[Change[T]]]


class Once(msgspec.Struct, Generic[T], frozen=True):
    """Make a change once: `request` is stored under `key`, and where it is stored already the result is `seen`."""

    key: str
    request: bytes
    seen: T
