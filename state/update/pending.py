"""The writes of a batch, gathered by key, and the commands that make them. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Final, TypeVar

from state.redis.exchange import Command
from state.update.changes import Append, Emit, Fields, Remove, Schedule, Write

__all__ = ["Pending"]

T = TypeVar("T")

_flat: Final[Callable[[Iterable[tuple[int | bytes, bytes]]], Iterable[int | bytes]]] = chain.from_iterable


class Pending:
    """What will be written, of several steps in their order; a list keeps its last `history_size` entries."""

    def __init__(self, history_size: int) -> None:
        self._history_size = history_size
        self._first: dict[str, Write] = {}  # by key
        self._all: dict[str, list[Any]] = {}  # those of keys with several
        self._removed: dict[bool, list[str]] = {False: [], True: []}  # by whether lazily
        self.emitted: list[Emit] = []

    def note(self, writes: Iterable[Write]) -> None:
        """Note the writes of one more step."""
        first = self._first
        for write in writes:
            key = write.key
            if key in first:
                self._all.setdefault(key, [first[key]]).append(write)
            else:
                first[key] = write

    def commands(self, values: Mapping[str, Any]) -> list[Command]:
        """The commands that make the writes; those for what is `emitted` come first, in its order.

        `values` has the lengths of lists: one is cut only when it becomes too long.
        """
        several, made = self._all, list[Command]()
        for key, write in self._first.items():
            if key in several:
                made += self._joined(key, several[key], values)
            elif type(write) is Fields and write.values:  # as mostly
                made.append(("HSET", key, *_flat(write.values.items())))
            elif type(write) is Append:
                made += self._pushed(key, (write.entry,), values)
            elif type(write) is Schedule:
                made += _scheduled(key, write.scores)
            else:
                made += self._joined(key, [write], values)
        added = [("XADD", each.key, "*", "g", each.group, "l", each.line) for each in self.emitted]
        gone = [(word, *self._removed[how]) for word, how in (("DEL", False), ("UNLINK", True)) if self._removed[how]]
        return [*added, *gone, *made]

    def _joined(self, key: str, writes: Sequence[Any], values: Mapping[str, Any]) -> list[Command]:
        """The commands for all writes of one key; what is removed or emitted is noted."""
        if Remove in map(type, writes):
            at = max(number for number, write in enumerate(writes) if type(write) is Remove)
            self._removed[writes[at].lazily].append(key)
            writes = writes[at + 1 :]  # what came before is gone
        kind = type(writes[0]) if writes else Remove
        if kind is Schedule:
            return _scheduled(key, dict(chain.from_iterable(write.scores.items() for write in writes)))
        if kind is Append:
            return self._pushed(key, [write.entry for write in writes], values)
        if kind is Emit:
            self.emitted += writes
        return [] if kind is Emit or kind is Remove else _hashed(key, writes)

    def _pushed(self, key: str, entries: Sequence[bytes], values: Mapping[str, Any]) -> list[Command]:
        """Entries added to a list, which is cut if it may have become too long."""
        pushed: Command = ("RPUSH", key, *entries)
        length = values.get(key)
        fits = isinstance(length, int) and length + len(entries) <= self._history_size
        return [pushed] if fits else [pushed, ("LTRIM", key, -self._history_size, -1)]


def _hashed(key: str, writes: Iterable[Any]) -> list[Command]:
    """Fields set and dropped."""
    left: dict[bytes, bytes | None] = {}
    for write in writes:
        left.update(write.values if type(write) is Fields else dict.fromkeys(write.fields))
    kept, gone = _parted(left)
    made: list[Command] = [("HSET", key, *_flat(kept.items()))] if kept else []
    return [*made, ("HDEL", key, *gone)] if gone else made


def _scheduled(key: str, scores: Mapping[bytes, int | None]) -> list[Command]:
    """Members added, moved and removed."""
    kept, gone = _parted(scores)
    # Of one mapping, which `strict` would only slow down.
    made: list[Command] = [("ZADD", key, *_flat(zip(kept.values(), kept)))] if kept else []  # noqa: B905
    return [*made, ("ZREM", key, *gone)] if gone else made


def _parted(left: Mapping[bytes, T | None]) -> tuple[Mapping[bytes, T], list[bytes]]:
    """What has a value, and the names of what has none."""
    if None not in left.values():
        return left, []  # type: ignore[return-value]  # as was just seen
    kept = {name: value for name, value in left.items() if value is not None}
    return kept, [name for name, value in left.items() if value is None]
