"""A change: what a step reads of one user, and what it writes.

A step is a pure function from values to a `Change`, or a generator of one. It may run several times, on newer values.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar

import msgspec

from state.redis.exchange import pack, template
from state.update.reading import Reading

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
    "Register",
    "Remove",
    "Schedule",
    "Score",
    "Step",
    "Values",
    "Watched",
    "Work",
    "Write",
    "entry",
]

T = TypeVar("T")

MOMENT: Final = "TIME"  # where the values have Redis's clock
# Members of a sorted set that are read at once, and to see whether more are needed: each costs Redis a microsecond.
AGENDA: Final = 32
FEW: Final = 2
_LLEN, _HGET, _ZSCORE = template("LLEN", None), template("HGET", None, None), template("ZSCORE", None, None)
_TIME: Final = template("TIME")


def entry(key: str, field: bytes) -> str:
    """Where the values have one field of a hash."""
    return f"{key} {field.decode()}"


class More(Exception):  # not an error: a step asks for what it lacks
    """Raised by a step: it needs these values too, as the user's others do if `for_all`, and runs again with them."""

    def __init__(self, reads: "tuple[Read, ...]", *, for_all: bool = False) -> None:
        super().__init__("more values are needed")
        self.reads, self.for_all = reads, for_all


class _OfKey(msgspec.Struct, frozen=True):
    """What is read of one key."""

    key: str

    @property
    def place(self) -> str:
        """Where the values have it."""
        return self.key


class Hash(_OfKey, frozen=True):
    """Read `fields` of a hash, in this order, None for a missing one. All steps that read a hash name the same ones."""

    fields: tuple[bytes, ...]

    def enter(self, reading: Reading) -> None:
        if reading.hashes.setdefault(self.key, self.fields) != self.fields:
            raise ValueError("two steps read different fields of one hash")


class List(_OfKey, frozen=True):
    """Append to a list. Only its length is read, and other writers may append at the same time."""

    def enter(self, reading: Reading) -> None:
        name = self.key.encode()
        reading.plain[self.key] = _LLEN % (len(name), name)


class Watched(_OfKey, frozen=True):
    """Read nothing of a key, but start over if another writer changes it meanwhile."""

    def enter(self, reading: Reading) -> None:
        reading.watched[self.key] = None


class Entry(_OfKey, frozen=True):
    """Read one `field` of a hash of any size: its value, or None, under `entry(key, field)`.

    Only the user's other keys are watched: each writer of such a field also writes one of them."""

    field: bytes

    @property
    def place(self) -> str:
        return entry(self.key, self.field)

    def enter(self, reading: Reading) -> None:
        name = self.key.encode()
        reading.plain[entry(self.key, self.field)] = _HGET % (len(name), name, len(self.field), self.field)
        reading.parts.add(self.key)


class Agenda(_OfKey, frozen=True):
    """Read the first `most` members of a sorted set, as a `Next`. It is not watched either."""

    most: int = FEW

    def enter(self, reading: Reading) -> None:
        if self.most > reading.agendas.get(self.key, 0):
            reading.agendas[self.key] = self.most
            name = self.key.encode()
            reading.plain[self.key] = template("ZRANGE", None, 0, self.most - 1, "WITHSCORES") % (len(name), name)


class Score(_OfKey, frozen=True):
    """Read the score or None of a `member` of a set that many users share, under `entry(key, member)`; not watched."""

    member: bytes

    @property
    def place(self) -> str:
        return entry(self.key, self.member)

    def enter(self, reading: Reading) -> None:
        place, name = self.place, self.key.encode()
        reading.plain[place] = _ZSCORE % (len(name), name, len(self.member), self.member)
        reading.scores.add(place)
        reading.parts.add(self.key)


class Register(_OfKey, frozen=True):
    """Change scores of a set that many users share, whatever they are. Only its type is read, once for all."""

    def enter(self, reading: Reading) -> None:
        if self.key not in reading.plain:
            reading.plain[self.key] = pack(("ZSCORE", self.key, b""))


class Moment(_OfKey, frozen=True):
    """Read Redis's clock: seconds and microseconds, under `MOMENT`."""

    key: str = MOMENT

    def enter(self, reading: Reading) -> None:
        reading.plain[MOMENT] = _TIME


class Backlog(_OfKey, frozen=True):
    """Append to a stream that many users share. Only its length is read, and other writers may append too."""

    def enter(self, reading: Reading) -> None:
        if self.key not in reading.plain:
            reading.plain[self.key] = pack(("XLEN", self.key))


# Each has `enter`, by which a batch reads it.
Read = Hash | List | Watched | Entry | Agenda | Score | Register | Moment | Backlog


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
