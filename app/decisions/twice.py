"""Notices users who teach a policy in both ways: by the first system's rewards and by ids. One of them must stop."""

from collections import OrderedDict
from typing import Final, Literal

__all__ = ["Twice", "Way"]

Way = Literal["first", "id"]

_DAY: Final = 86_400
# Users and policies that are remembered, some 150 bytes each; those who taught longest ago are forgotten first.
_REMEMBERED: Final = 65_536


class Twice:
    """Remembers which policies a user taught by which way, and when. It only knows what came to this process."""

    def __init__(self) -> None:
        self._taught: OrderedDict[int, tuple[Way, int]] = OrderedDict()

    def note(self, user_id: str, policy: str, way: Way, now: int) -> bool:
        """Note that a user taught a policy at `now` (Unix seconds); True if the same was taught in the other way within
        a day before."""
        name = hash((policy, user_id))  # 64 bits that nobody outside this process can foresee
        before = self._taught.pop(name, None)
        self._taught[name] = (way, now)
        if before is not None:
            return before[0] != way and now - before[1] < _DAY
        if len(self._taught) > _REMEMBERED:
            self._taught.popitem(last=False)
        return False
