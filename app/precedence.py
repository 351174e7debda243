"""Decisions go first: work that can wait runs between them, one step at a time."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final, TypeVar

__all__ = ["SLICE", "Precedence"]

A = TypeVar("A")
T = TypeVar("T")

# Of what comes at once, so many are done together: more would make a decision wait, fewer would share less.
SLICE: Final = 16
# Beside constant decisions a slice gives way for so many times what the one before it took.
_REST: Final = 2.0
# One that takes longer, as when Redis fails, holds up no others.
_SLICE_SECONDS: Final = 0.05

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
        self._slices = asyncio.Lock()
        self._took = 0.0  # seconds, by the last slice

    def __enter__(self) -> None:
        self._deciding += 1

    def __exit__(self, *_: object) -> None:
        self._deciding -= 1
        if self._clear is not None and not self._deciding:
            self._clear.set()

    async def give_way(self, longest_seconds: float = 0.0) -> None:
        """Wait for one's turn, then until no decision is in hand or `longest_seconds` have passed, here or of all."""
        until = asyncio.get_running_loop().time() + max(self._longest, longest_seconds)
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

    async def in_slices(self, one: Callable[[A], Awaitable[T]], asked: Sequence[A]) -> list[T]:
        """What `one` makes of each that was `asked`, in their order: a slice at once, and each slice gives way.

        Within a slice all are begun in their order, before any goes on. One slice is in hand at a time, whoever asked
        for it: with two, a score beside batches had 2.5 times its p99 without them, and with one 1.9 times.
        """
        made: list[T] = []
        clock = asyncio.get_running_loop().time
        for first in range(0, len(asked), SLICE):
            async with self._slices:
                await self.give_way(_REST * self._took)
                began, some = clock(), asyncio.gather(*map(one, asked[first : first + SLICE]))
                try:
                    await asyncio.wait([some], timeout=_SLICE_SECONDS)
                except asyncio.CancelledError:
                    some.cancel()
                    raise
                self._took = clock() - began
            made += await some
        return made
