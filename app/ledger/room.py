"""Room for one more decision of a user: old ones go, so that the loop's limits hold. Pure."""

from collections import OrderedDict
from typing import Final

from app.ledger.ledger import Ledger
from app.policies.loop import Loop
from state import keys
from state.update.changes import AGENDA, Entry, Read
from state.values.decision import Record

__all__ = ["Crowds", "leaves_next", "make_room"]

# Records of a user for each that may be open, and bytes of all of them: at least, and for each that may be open.
_RECORDS: Final = 4
# Users, some 500 bytes each; those who decided longest ago are forgotten first.
_REMEMBERED: Final = 8_192
_BYTES_MIN: Final = 4 * 1024 * 1024
_BYTES_EACH: Final = 4 * 1024


def make_room(ledger: Ledger, loop: Loop) -> None:
    """End or drop the oldest decisions of a user, as long as there are too many for one more, or too many bytes.

    The oldest open ones end early. Of those that may go, the settled ones go first. Raises More and CorruptState.
    """
    if not (_is_crowded(ledger, loop) or _is_full(ledger, loop)):
        return
    for most in (1, AGENDA):
        kept = ledger.first(most)
        _end(ledger, loop, kept)
        if not (_is_crowded(ledger, loop) or _is_full(ledger, loop)):
            return  # mostly the first one is enough, and to read more takes time
        if not _is_crowded(ledger, loop) and any(not one.is_open for one in kept.values()):
            break
    for local in sorted(kept, key=lambda local: kept[local].is_open):
        if _is_crowded(ledger, loop) or _is_full(ledger, loop):
            one = kept[local]
            if one.is_open:
                one = ledger.end(local, one, early=True)
            ledger.ended.append((one.loop, "dropped"))
            ledger.drop(local, one)


def leaves_next(ledger: Ledger, loop: Loop) -> bytes | None:
    """The name of the decision that must make room for the next one; None if none must, or it is not known."""
    if loop.is_large or not _is_crowded(ledger, loop):
        return None
    return ledger.soonest()


class Crowds:
    """Remembers of users who have as many open decisions as they may which one makes room next, so that it is read with
    all else. It only knows what came to this process; where it knows nothing or errs, a decision takes one more round
    trip."""

    def __init__(self) -> None:
        self._next: OrderedDict[str, bytes] = OrderedDict()

    def reads(self, user_id: str) -> tuple[Read, ...]:
        """What to read for the next decision of a user besides."""
        name = self._next.get(user_id)
        return () if name is None else (Entry(keys.decisions(user_id), name),)

    def note(self, user_id: str, name: bytes | None) -> None:
        """Note which decision of a user makes room next."""
        self._next.pop(user_id, None)
        if name is not None:
            self._next[user_id] = name
            if len(self._next) > _REMEMBERED:
                self._next.popitem(last=False)


def _is_crowded(ledger: Ledger, loop: Loop) -> bool:
    return ledger.user.open >= loop.open_max


def _is_full(ledger: Ledger, loop: Loop) -> bool:
    user, most = ledger.user, loop.open_max
    return user.records >= _RECORDS * most or user.bytes >= max(_BYTES_MIN, _BYTES_EACH * most)


def _end(ledger: Ledger, loop: Loop, kept: dict[str, Record]) -> None:
    """End the oldest open ones of `kept` until there is room for one more."""
    for local, one in kept.items():
        if one.is_open and _is_crowded(ledger, loop):
            kept[local] = ledger.end(local, one, early=True)
