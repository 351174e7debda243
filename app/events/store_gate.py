"""A gate that is shut while the store is away."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from app.events.waiting import backoff

__all__ = ["StoreGate"]

_log: Final = logging.getLogger("oo.events")
SAY_SECONDS: Final = 10.0  # between two log lines about a store that comes and goes


class StoreGate:
    """Shut while the store is away: no events are pulled, and `ping` is called until it no longer raises."""

    def __init__(self, ping: Callable[[], Awaitable[object]]) -> None:
        self._ping = ping
        self._open = asyncio.Event()
        self._open.set()
        self._closing = asyncio.Event()
        self._probe: asyncio.Task[None] | None = None
        self._last_said = -SAY_SECONDS
        self._reason = ""
        self._held = 0

    @property
    def problem(self) -> str | None:
        """The store's last error while it is away or an event waits for it: it may answer pings and refuse writes."""
        return f"store unavailable: {self._reason}" if self._held or not self._open.is_set() else None

    @property
    def closing(self) -> bool:
        """Whether the service is shutting down."""
        return self._closing.is_set()

    async def passed(self) -> None:
        """Wait until the store answers or the service is shutting down."""
        await self._open.wait()

    async def pause(self, seconds: float) -> None:
        """Wait `seconds`, or until the service is shutting down."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closing.wait()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Hold an event that waits for the store: `problem` is told meanwhile."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1

    def shut(self, reason: str) -> None:
        """Note that the store is away and why, and ask it until it answers."""
        self._reason = reason
        if self._open.is_set() and not self.closing:
            self._open.clear()
            if time.monotonic() >= self._last_said + SAY_SECONDS:
                self._last_said = time.monotonic()
                _log.warning("store unavailable: %s: events wait until it answers", reason)
            self._probe = asyncio.get_running_loop().create_task(self._until_it_answers())

    def close(self) -> None:
        """Open for good: a shutdown does not wait for the store."""
        self._closing.set()
        self._open.set()
        if self._probe is not None:
            self._probe.cancel()

    async def _until_it_answers(self) -> None:
        failures = 0
        while True:
            await asyncio.sleep(backoff(failures, first=0.1, longest=5.0))
            try:
                await self._ping()
            except Exception:  # noqa: BLE001  # whatever it raises, the store does not answer
                failures += 1
            else:
                self._open.set()
                return
