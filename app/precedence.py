"""Decisions go first: work that can wait runs between them, one step at a time."""

import asyncio
from contextlib import suppress
from typing import Final

__all__ = ["Precedence"]

# Under constant load there is always a decision in hand, and other work must go on all the same.
LONGEST_SECONDS: Final = 0.003


class Precedence:
    """Decision handlers enter the block (`with precedence:`); other work calls `give_way` before each of its steps.

    All share one event loop, so a decision waits for the step that is running and for no other.
    """

    def __init__(self, longest_seconds: float = LONGEST_SECONDS) -> None:
        self._longest = longest_seconds
        self._deciding = 0
        self._clear: asyncio.Event | None = None  # while somebody waits for it
        self._turn = asyncio.Lock()

    def __enter__(self) -> None:
        self._deciding += 1

    def __exit__(self, *_: object) -> None:
        self._deciding -= 1
        if self._clear is not None and not self._deciding:
            self._clear.set()

    async def give_way(self) -> None:
        """Wait for one's turn, then until no decision is in hand or `longest_seconds` have passed."""
        until = asyncio.get_running_loop().time() + self._longest
        async with self._turn:
            # A request that has just arrived has not entered the block yet.
            await asyncio.sleep(0)
            if not self._deciding:
                return
            try:
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(until):
                        # In a loop: the next decision may have begun before this task ran.
                        while self._deciding:
                            self._clear = asyncio.Event()
                            await self._clear.wait()
            finally:
                self._clear = None
