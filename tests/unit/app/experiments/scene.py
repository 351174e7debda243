"""Stand-ins for what follows the states of loops."""

from collections.abc import Sequence

__all__ = ["Followed"]


class Followed:
    """Finds these `problems`, one at each look, and then none."""

    def __init__(self, problems: Sequence[str | None] = ()) -> None:
        self._left = list(problems)
        self.began = False
        self.problem: str | None = None

    async def refresh(self) -> None:
        self.problem = self._left.pop(0) if self._left else None
        self.began = self.began or self.problem is None
