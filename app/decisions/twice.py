"""Notices users who teach a policy in both ways: by the first system's rewards and by ids. One of them must stop."""

from collections import OrderedDict
from collections.abc import Iterable
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

    def note(self, user_id: str, policies: Iterable[str], way: Way, now: int) -> list[str]:
        """Note that a user taught these policies at `now` (Unix seconds); those of them that were taught in the other
        way within a day before."""
        taught, told = self._taught, (way, now)
        twice = []
        for policy in policies:
            name = hash((policy, user_id))  # 64 bits, which cannot be predicted outside this process
            before = taught.pop(name, None)
            taught[name] = told
            if before is None:
                if len(taught) > _REMEMBERED:
                    taught.popitem(last=False)
            elif before[0] != way and now - before[1] < _DAY:
                twice.append(policy)
        return twice
