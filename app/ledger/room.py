"""Room for one more decision of a user: old ones go, so that the loop's limits hold. Pure."""

from typing import Final

from app.ledger.ledger import Ledger
from app.policies.loop import Loop
from state.update.changes import AGENDA, FEW
from state.values.decision import Record

__all__ = ["make_room"]

# Records of a user for each that may be open, and bytes of all of them: at least, and for each that may be open.
_RECORDS: Final = 4
_BYTES_MIN: Final = 4 * 1024 * 1024
_BYTES_EACH: Final = 4 * 1024


def make_room(ledger: Ledger, loop: Loop) -> None:
    """End or drop the oldest decisions of a user, as long as there are too many for one more, or too many bytes.

    The oldest open ones end early. Of those that may go, the settled ones go first. Raises More and CorruptState.
    """
    if not (_is_crowded(ledger, loop) or _is_full(ledger, loop)):
        return
    for most in (FEW, AGENDA):
        kept = ledger.first(most)
        _end(ledger, loop, kept)
        may_go = not _is_full(ledger, loop) or any(not one.is_open for one in kept.values())
        if may_go and not _is_crowded(ledger, loop):
            break  # mostly the first ones are enough, and to read more takes time
    for local in sorted(kept, key=lambda local: kept[local].is_open):
        if _is_crowded(ledger, loop) or _is_full(ledger, loop):
            one = kept[local]
            if one.is_open:
                one = ledger.end(local, one, early=True)
            ledger.ended.append((one.loop, "dropped"))
            ledger.drop(local, one)


def _is_crowded(ledger: Ledger, loop: Loop) -> bool:
    return ledger.user.open >= loop.open_max


def _is_full(ledger: Ledger, loop: Loop) -> bool:
    most = max(_BYTES_MIN, _BYTES_EACH * loop.open_max)
    return ledger.user.records >= _RECORDS * loop.open_max or ledger.user.bytes >= most


def _end(ledger: Ledger, loop: Loop, kept: dict[str, Record]) -> None:
    """End the oldest open ones of `kept` until there is room for one more."""
    for local, one in kept.items():
        if one.is_open and _is_crowded(ledger, loop):
            kept[local] = ledger.end(local, one, early=True)
