"""Room for one more decision of a user: old ones go, so that the loop's limits hold. Pure."""

from typing import Final

from app.ledger.ledger import Ledger
from app.policies.loop import Loop

__all__ = ["make_room"]

# Records of a user for each that may be open, and bytes of all of them.
_RECORDS: Final = 4
_BYTES_MAX: Final = 4 * 1024 * 1024


def make_room(ledger: Ledger, loop: Loop) -> None:
    """End or drop the oldest decisions of a user, as long as there are too many for one more, or too many bytes.

    The oldest that are settled go first, then the oldest open ones end early. Raises More and CorruptState.
    """
    most = _RECORDS * loop.open_max

    def is_full() -> bool:
        return ledger.user.records >= most or ledger.user.bytes >= _BYTES_MAX

    if ledger.user.open < loop.open_max and not is_full():
        return
    ledger.see_all()
    names = ledger.first()
    ledger.need([name.encode() for name in names])
    found = {local: ledger.record(local) for local in names}
    kept = {local: each for local, each in found.items() if each is not None}
    opened = [local for local, each in kept.items() if each.is_open]
    for local in opened[: max(ledger.user.open - loop.open_max + 1, 0)]:
        kept[local] = ledger.end(local, kept[local], early=True)
    # Those that are not open go first, and all of them if they hide the open ones.
    hides = ledger.user.open >= loop.open_max
    for local in sorted(kept, key=lambda local: local in opened):
        if is_full() or hides:
            one = kept[local]
            if one.is_open:
                one = ledger.end(local, one, early=True)
            ledger.ended.append((one.loop, "dropped"))
            ledger.drop(local, one)
