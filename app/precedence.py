"""Decisions go first: what can wait runs between them, one step at a time."""

import asyncio
from contextlib import suppress
from typing import Final

__all__ = ["Precedence"]

# So that decisions without an end do not keep the rest from being done.
LONGEST_SECONDS: Final = 0.003


class Precedence:
    """Who decides is within (`with precedence:`); who can wait calls `give_way` before each step of its work.

    All share one event loop, so a decision waits for the step that runs, and for no more than that one.
    """

    def __init__(self, longest_seconds: float = LONGEST_SECONDS) -> None:
        self._longest = longest_seconds
        self._deciding = 0
        self._clear = asyncio.Event()
        self._clear.set()
        self._turn = asyncio.Lock()

    def __enter__(self) -> None:
        self._deciding += 1
        self._clear.clear()

    def __exit__(self, *_: object) -> None:
        self._deciding -= 1
        if not self._deciding:
            self._clear.set()

    async def give_way(self) -> None:
        """Wait until no decision is in hand, `longest_seconds` at most, and until those have run who came before."""
        until = asyncio.get_running_loop().time() + self._longest
        async with self._turn:
            # What has just arrived is not within yet.
            await asyncio.sleep(0)
            if self._clear.is_set():
                return
            with suppress(TimeoutError):
                async with asyncio.timeout_at(until):
                    # More than once: the next decision may have begun before this task ran.
                    while not self._clear.is_set():
                        await self._clear.wait()
