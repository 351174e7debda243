"""Turns for the calls to the language model: a bounded number at once, and not all at the same moment."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from app.tips.errors import LlmUnavailable

__all__ = ["Turns"]

# Calls that start together are answered together, and reading 32 answers in a row delays every other request.
SPACING_SECONDS: Final = 0.005


class Turns:
    """At most `max_concurrency` calls at once, which start at least `SPACING_SECONDS` apart."""

    def __init__(self, max_concurrency: int, queue_seconds: float) -> None:
        self._free = asyncio.Semaphore(max_concurrency)
        self._queue_seconds = queue_seconds
        self._next_start = 0.0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """One of the places for calls in flight; raises LlmUnavailable if none is free within `queue_seconds`."""
        try:
            async with asyncio.timeout(self._queue_seconds):
                await self._free.acquire()
        except TimeoutError:
            raise LlmUnavailable("too many calls to the LLM proxy at once", retry_after=1.0) from None
        try:
            now = asyncio.get_running_loop().time()
            self._next_start = max(now, self._next_start)
            wait = self._next_start - now
            self._next_start += SPACING_SECONDS
            if wait:
                await asyncio.sleep(wait)
            yield
        finally:
            self._free.release()
