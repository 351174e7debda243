"""The decisions of a user in a Redis list, oldest first: one compact JSON array per decision."""

from typing import Annotated

import msgspec
from msgspec import Meta

from state.errors import CorruptState

__all__ = ["Entry", "decode", "encode"]


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One decision. In Redis it is an array of these fields in this order: names would take more space than values.

    `ts` is in Unix seconds, `hour_of_day` from the context, `task_age_days` as it was sent. `day_of_week` and
    `exploring` are null for a policy that uses neither. New fields are appended.
    """

    ts: Annotated[int, Meta(ge=0, lt=253_402_300_800)]  # before the year 10000
    tip_id: str
    score: float
    hour_of_day: int
    is_overdue: bool
    task_age_days: float
    priority: int
    policy: str
    day_of_week: int | None = None
    exploring: bool | None = None


encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Entry).decode


def decode(key: str, entries: list[bytes]) -> list[Entry]:
    """The entries of the list `key`. Raises CorruptState, which names the key and the position, for an invalid one."""
    found = []
    for position, entry in enumerate(entries):
        try:
            found.append(_decode(entry))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise CorruptState(key, f"entry {position}: {error}") from None
    return found
