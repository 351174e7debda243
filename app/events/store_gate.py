"""Waiting for what is away: pauses that grow, and a gate that is shut while the store is."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from app.events.waiting import grow, jitter

__all__ = ["StoreGate"]

log = logging.getLogger("oo.events")
SAY_SECONDS: Final = 10.0  # between two log lines about a store that comes and goes


class StoreGate:
    """Shut while the store is away: nothing is pulled then, and `ping` is asked until it no longer raises."""

    def __init__(self, ping: Callable[[], Awaitable[object]]) -> None:
        self._ping = ping
        self._open = asyncio.Event()
        self._open.set()
        self._closing = asyncio.Event()
        self._probe: asyncio.Task[None] | None = None
        self._last_said = -SAY_SECONDS
        self._words = ""
        self._held = 0

    @property
    def problem(self) -> str | None:
        """What the store said last, while it is away or somebody waits for it: it may answer and still refuse all."""
        return f"store unavailable: {self._words}" if self._held or not self._open.is_set() else None

    @property
    def closing(self) -> bool:
        return self._closing.is_set()

    async def passed(self) -> None:
        """Wait until the store answers or the process stops."""
        await self._open.wait()

    async def pause(self, seconds: float) -> None:
        """Wait `seconds`, or until the process stops."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closing.wait()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around what waits because the store was away."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1

    def shut(self, words: str) -> None:
        """The store was found to be away, and why."""
        self._words = words
        if self._open.is_set() and not self.closing:
            self._open.clear()
            if time.monotonic() >= self._last_said + SAY_SECONDS:
                self._last_said = time.monotonic()
                log.warning("store unavailable: %s: events wait until it answers", words)
            self._probe = asyncio.get_running_loop().create_task(self._until_it_answers())

    def close(self) -> None:
        """Let everybody pass for good: a stop waits for no store."""
        self._closing.set()
        self._open.set()
        if self._probe is not None:
            self._probe.cancel()

    async def _until_it_answers(self) -> None:
        pause = 0.1
        while True:
            await asyncio.sleep(jitter(pause))
            try:
                await self._ping()
            except Exception:  # noqa: BLE001 (whatever it is, the store does not answer)
                pause = grow(pause, 5.0)
            else:
                self._open.set()
                return
