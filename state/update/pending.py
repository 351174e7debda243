"""The writes of a batch, gathered by key, and the commands that make them. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Final, TypeVar, cast

from state.redis.exchange import Command
from state.update.changes import Append, Emit, Fields, Remove, Schedule, Write

__all__ = ["Pending"]

T = TypeVar("T")

_flat: Final[Callable[[Iterable[tuple[int | bytes, bytes]]], Iterable[int | bytes]]] = chain.from_iterable


class Pending:
    """What will be written, of several steps in their order; a list keeps its last `history_size` entries."""

    def __init__(self, history_size: int) -> None:
        self._history_size = history_size
        self._writes: dict[str, list[Any]] = {}  # by key, of a kind that fits its type, and removals
        self.emitted: list[Emit] = []

    def note(self, writes: Iterable[Write]) -> None:
        """Note the writes of one more step."""
        for write in writes:
            self._writes.setdefault(write.key, []).append(write)

    def commands(self, values: Mapping[str, Any]) -> list[Command]:
        """The commands that make the writes; those for what is `emitted` come first, in its order.

        `values` has the lengths of lists: one is cut only when it becomes too long.
        """
        removed: dict[bool, list[str]] = {False: [], True: []}  # by whether lazily
        made: list[Command] = []
        for key, writes in self._writes.items():
            if Remove in map(type, writes):
                at = max(number for number, write in enumerate(writes) if type(write) is Remove)
                removed[writes[at].lazily].append(key)
                writes = writes[at + 1 :]  # noqa: PLW2901  # what came before is gone
            kind = type(writes[0]) if writes else Remove
            if kind is Append:
                made += self._appended(key, [write.entry for write in writes], values.get(key))
            elif kind is Schedule:
                made += _scheduled(key, writes)
            elif kind is Emit:
                self.emitted += writes
            elif kind is Fields and len(writes) == 1 and writes[0].values:  # as mostly
                made.append(("HSET", key, *_flat(writes[0].values.items())))
            elif kind is not Remove:
                made += _hashed(key, writes)
        gone = [(word, *names) for word, names in (("DEL", removed[False]), ("UNLINK", removed[True])) if names]
        return [*(("XADD", each.key, "*", "g", each.group, "l", each.line) for each in self.emitted), *gone, *made]

    def _appended(self, key: str, entries: Sequence[bytes], length: object) -> list[Command]:
        pushed: Command = ("RPUSH", key, *entries)
        if isinstance(length, int) and length + len(entries) <= self._history_size:
            return [pushed]
        return [pushed, ("LTRIM", key, -self._history_size, -1)]


def _hashed(key: str, writes: Iterable[Any]) -> list[Command]:
    """Fields set and dropped."""
    left: dict[bytes, bytes | None] = {}
    for write in writes:
        left.update(write.values if type(write) is Fields else dict.fromkeys(write.fields))
    kept, gone = _parted(left)
    made: list[Command] = [("HSET", key, *_flat(kept.items()))] if kept else []
    return [*made, ("HDEL", key, *gone)] if gone else made


def _scheduled(key: str, writes: Iterable[Any]) -> list[Command]:
    """Members added, moved and removed."""
    left: dict[bytes, int | None] = {}
    for write in writes:
        left.update(write.scores)
    kept, gone = _parted(left)
    made: list[Command] = [("ZADD", key, *_flat(zip(kept.values(), kept, strict=True)))] if kept else []
    return [*made, ("ZREM", key, *gone)] if gone else made


def _parted(left: dict[bytes, T | None]) -> tuple[dict[bytes, T], list[bytes]]:
    """What has a value, and the names of what has none."""
    gone = [name for name, value in left.items() if value is None] if None in left.values() else []
    for name in gone:
        del left[name]
    return cast("dict[bytes, T]", left), gone
