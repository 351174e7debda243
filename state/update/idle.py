"""Users who do not return: all keys of one expire at the same moment, which a day with changes puts off.

The moment is in a key of the user's own, `seen`, which expires with the others. The first change of a day sets it
anew on every key; a change after that sets it only on the keys that it creates.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any, Final
from zlib import crc32

from state import keys, parts
from state.redis.exchange import Command
from state.update.agenda import Next
from state.update.changes import MOMENT, entry

__all__ = ["Idle", "milliseconds", "present", "spread"]

_DAY: Final = 86_400_000
_FILL: Final = frozenset({"HSET", "RPUSH", "ZADD"})
_REMOVE: Final = frozenset({"DEL", "UNLINK"})


class Idle:
    """Lets users expire `days` after the day of their last change; 0: never. There may be models of `policies`.

    `ends` says that users were given a moment before, and must not expire any more: the next change of each takes it
    away.
    """

    def __init__(self, days: int = 0, policies: Iterable[str] = ()) -> None:
        self.days = days
        self.policies = dict.fromkeys(policies)
        self.ends = False

    @property
    def is_on(self) -> bool:
        """Whether a change has to look at the user's moment."""
        return self.days > 0 or self.ends

    def moment(self, user_id: str, now: int) -> int:
        """When (Unix ms) a user expires who changes at `now` and never again.

        The days of users begin at different hours, so that neither the work of a new day nor the expiries come all at
        once.
        """
        begins = crc32(user_id.encode()) % _DAY
        return ((now - begins) // _DAY + 1 + self.days) * _DAY + begins

    def commands(
        self, seen: Mapping[str, str], writes: Sequence[Command], there: Container[str], values: Mapping[str, Any]
    ) -> list[Command]:
        """The commands that belong to a batch's `writes`; `there` are keys that existed, and all of `values` was read.

        `seen` has by user where the user's moment is. Nothing belongs to removals alone.
        """
        made: list[Command] = []
        removed = {key for word, *names in writes if word in _REMOVE for key in names} if seen else ()
        filled = [str(write[1]) for write in writes if write[0] in _FILL] if seen else []
        for user, key in seen.items():
            beginning = keys.of(user, "")
            if written := [name for name in filled if name.startswith(beginning)]:
                new = [name for name in written if name not in there or name in removed]
                every = self.every(user, values.get(spread(user)))
                made += self._after(user, values[key], milliseconds(values[MOMENT]), every, new)
        return made

    def _after(self, user_id: str, seen: object, now: int, every: Sequence[str], new: Sequence[str]) -> list[Command]:
        if not self.days:
            own = keys.of(user_id, keys.SEEN)
            return [*(("PERSIST", key) for key in every), ("DEL", own)] if seen is not None else []
        at = self.moment(user_id, now)
        kept = int(seen) if isinstance(seen, bytes) and seen.isdigit() else 0
        if at > kept:  # never earlier: Redis's clock may have jumped back
            return self.given(user_id, at, [*every, *new])
        return [("PEXPIREAT", key, kept) for key in new]

    def given(self, user_id: str, at: int, names: Iterable[str]) -> list[Command]:
        """The commands that let the keys `names` of a user expire at `at` (Unix ms)."""
        own = keys.of(user_id, keys.SEEN)
        return [("SET", own, at), *(("PEXPIREAT", key, at) for key in dict.fromkeys((*names, own)))]

    def every(self, user_id: str, spread: object) -> list[str]:
        """All keys that a user may have, but for idempotency keys and their index, which expire by themselves.

        `spread` is what the user's hash says of parts.
        """
        known = [keys.of(user_id, kind) for kind in keys.fixed(self.policies)]
        return [*known, *parts.every(keys.decisions(user_id))] if isinstance(spread, bytes) else known


def spread(user_id: str) -> str:
    """Where the values say whether a user has parts."""
    return entry(keys.shared(user_id), parts.FIELD)


def milliseconds(clock: tuple[bytes, bytes] | list[bytes]) -> int:
    """Redis's clock in Unix ms, from the reply to TIME."""
    seconds, micros = clock
    return int(seconds) * 1_000 + int(micros) // 1_000


def present(values: Mapping[str, Any]) -> set[str]:
    """The names of the values that say that their key exists."""
    return {name for name, value in values.items() if _is_there(value)}


def _is_there(value: object) -> bool:
    if isinstance(value, Next):
        return value.first is not None
    if isinstance(value, list | tuple):
        return any(one is not None for one in value)
    return isinstance(value, int) and value > 0
