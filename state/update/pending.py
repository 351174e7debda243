"""The writes of a batch, gathered by key, and the commands that make them. Pure."""

from collections.abc import Mapping
from itertools import chain

from state.redis.exchange import Command
from state.update.changes import Append, Drop, Emit, Fields, Remove, Schedule, Write

__all__ = ["Pending"]


class Pending:
    """What will be written, of several steps in their order; a list keeps its last `history_size` entries."""

    def __init__(self, history_size: int) -> None:
        self._history_size = history_size
        self._removed: dict[str, bool] = {}  # whether lazily
        self._fields: dict[str, dict[bytes, bytes]] = {}
        self._dropped: dict[str, dict[bytes, None]] = {}
        self._entries: dict[str, list[bytes]] = {}
        self._scores: dict[str, dict[bytes, int | None]] = {}
        self.emitted: list[Emit] = []

    def note(self, write: Write) -> None:
        """Note one more write."""
        key = write.key
        if type(write) is Fields:
            self._fields.setdefault(key, {}).update(write.values)
            if key in self._dropped:
                for name in write.values:
                    self._dropped[key].pop(name, None)
        elif type(write) is Append:
            self._entries.setdefault(key, []).append(write.entry)
        elif type(write) is Drop:
            for name in write.fields:
                self._fields.get(key, {}).pop(name, None)
                self._dropped.setdefault(key, {})[name] = None
        elif type(write) is Schedule:
            self._scores.setdefault(key, {}).update(write.scores)
        elif type(write) is Emit:
            self.emitted.append(write)
        else:
            assert type(write) is Remove  # noqa: S101  # the last kind of write
            self._removed[key] = write.lazily
            self._forget(key)

    def _forget(self, key: str) -> None:
        for gathered in (self._fields, self._dropped, self._entries, self._scores):
            gathered.pop(key, None)

    def written(self, beginning: str) -> list[str]:
        """The keys with this beginning that something is written to."""
        scheduled = (key for key, scores in self._scores.items() if any(score is not None for score in scores.values()))
        filled = (key for key, fields in self._fields.items() if fields)
        return [key for key in (*filled, *self._entries, *scheduled) if key.startswith(beginning)]

    def commands(self) -> list[Command]:
        """The commands that make the writes; those for what is `emitted` come first, in its order."""
        writes: list[Command] = [("XADD", each.key, "*", "g", each.group, "l", each.line) for each in self.emitted]
        for word, lazily in (("DEL", False), ("UNLINK", True)):
            if removed := [key for key, how in self._removed.items() if how is lazily]:
                writes.append((word, *removed))
        writes += [
            ("HSET", key, *chain.from_iterable(fields.items())) for key, fields in self._fields.items() if fields
        ]
        writes += [("HDEL", key, *names) for key, names in self._dropped.items() if names]
        for key, entries in self._entries.items():
            writes.append(("RPUSH", key, *entries))
            writes.append(("LTRIM", key, -self._history_size, -1))
        for key, scores in self._scores.items():
            writes += _scheduled(key, scores)
        return writes


def _scheduled(key: str, scores: Mapping[bytes, int | None]) -> list[Command]:
    added = [word for member, score in scores.items() if score is not None for word in (score, member)]
    gone = [member for member, score in scores.items() if score is None]
    writes: list[Command] = [("ZADD", key, *added)] if added else []
    return [*writes, ("ZREM", key, *gone)] if gone else writes
