"""Publishing: lines go from the outbox in Redis to where the log is kept, and leave it when they are safe there.

A process publishes the lines that its own transactions wrote, of which it knows at once. From time to time it also
looks for those that wait for long: of processes that died, and of its own if there were too many to remember.
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from app.decision_log.place import PlaceError
from state.errors import CorruptState, StoreUnavailable
from state.slots.outbox import Outbox
from state.update.operation import Emitted

__all__ = ["Observer", "Place", "Progress", "Publisher"]

_log: Final = logging.getLogger("oo.log")

# Of one write to the place.
_LINES: Final = 1_024
_BYTES: Final = 1_048_576
# Seconds for which lines gather, unless there are enough for a write already: each costs a turn of a thread, a sync and
# a removal, however few lines it has.
_GATHER: Final = 0.25
# What a process remembers of its own lines; others of them wait in Redis until they are looked for.
_REMEMBERED_BYTES: Final = 16_777_216
# Pauses after a failed write, in seconds: the first, and the longest.
_PAUSE: Final = 0.25
_LONGEST_PAUSE: Final = 10.0
# Seconds between two looks at the outbox, from half to one and a half of it; how old (ms) a line is that is looked for.
_LOOK_SECONDS: Final = 16.0
_OLD_MS: Final = 30_000
# Bytes that Redis needs for a line beside its text, and how many a line has before any was seen.
_AROUND: Final = 120
_GUESS: Final = 1_500


class Place(Protocol):
    """Where the log is kept. The methods raise PlaceError; what was not written without an error is written again."""

    async def write(self, lines: Sequence[tuple[str, bytes]]) -> None:
        """Return when these lines, each with its group, are safe."""

    async def close(self) -> None: ...


class Observer(Protocol):
    """Gets what becomes of the log."""

    def published(self, lines: int) -> None: ...

    def lines_lost(self, lines: int) -> None: ...

    def backlog(self, used: int, most: int) -> None: ...


class Progress(msgspec.Struct, frozen=True):
    """How publishing goes: what keeps it from it, how many lines wait in Redis, and for how many seconds the oldest."""

    problem: str | None
    waiting: int
    seconds: float


class Publisher:
    """Publishes what is in `outbox` to `place`; beyond `backlog` bytes in Redis the oldest lines are dropped."""

    def __init__(self, outbox: Outbox, place: Place, backlog: int, observer: Observer) -> None:
        self._outbox = outbox
        self._place = place
        self._backlog = backlog
        self._observer = observer
        self._own: deque[Emitted] = deque()
        self._own_bytes = 0
        self._some = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()
        self._mean = float(_GUESS)
        self._random = random.Random()  # noqa: S311  # jitter
        self.progress = Progress(None, 0, 0.0)

    def take(self, sent: Sequence[Emitted]) -> None:
        """Publish these lines soon; never waits."""
        for one in sent:
            size = self._own_bytes + len(one.line)
            if size <= _REMEMBERED_BYTES:
                self._own.append(one)
                self._own_bytes = size
                self._some.set()

    async def run(self) -> None:
        """Publish until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._publish_own())
            tasks.create_task(self._look_again_and_again())

    async def stop(self, seconds: float) -> None:
        """Publish what this process knows of, for at most so long, and close the place."""
        try:
            async with asyncio.timeout(seconds):
                while self._own:
                    await self._write_next()
        except (TimeoutError, PlaceError):
            _log.warning("%d lines of the log stay in Redis, from where another replica publishes them", len(self._own))
        await self._place.close()

    async def _publish_own(self) -> None:
        pause = _PAUSE
        while True:
            if len(self._own) < _LINES and self._own_bytes < _BYTES:
                await self._some.wait()
                await asyncio.sleep(_GATHER)
            try:
                await self._write_next()
            except PlaceError:
                await asyncio.sleep(self._random.uniform(0.5, 1.0) * pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                pause = _PAUSE

    async def _write_next(self) -> None:
        """Publish the next of its own lines, which stay known if that fails. Raises PlaceError."""
        batch: list[Emitted] = []
        size = 0
        while self._own and len(batch) < _LINES and size < _BYTES:
            batch.append(self._own.popleft())
            size += len(batch[-1].line)
        self._own_bytes -= size
        if not self._own:
            self._some.clear()
        try:
            await self._write(batch)
        except (asyncio.CancelledError, PlaceError):
            self._own.extendleft(reversed(batch))
            self._own_bytes += size
            self._some.set()
            raise
        except (StoreUnavailable, CorruptState):
            return  # they are found and published again, and readers take each line once

    async def _write(self, batch: Sequence[Emitted]) -> None:
        """Write lines to the place and remove them from the outbox. Raises PlaceError, and the store's errors for lines
        that are safe in the place and stay in the outbox."""
        async with self._one_at_a_time:
            try:
                await self._place.write([(one.group, one.line) for one in batch])
            except PlaceError as error:
                if self.progress.problem != str(error):
                    _log.warning("the log of decisions waits in Redis: %s", error)
                self.progress = msgspec.structs.replace(self.progress, problem=str(error))
                raise
        if self.progress.problem is not None:
            _log.warning("the log of decisions is published again")
            self.progress = msgspec.structs.replace(self.progress, problem=None)
        self._mean += 0.1 * (sum(len(one.line) for one in batch) / len(batch) - self._mean)
        self._observer.published(len(batch))
        await self._outbox.remove(batch)

    async def _look_again_and_again(self) -> None:
        while True:
            await asyncio.sleep(self._random.uniform(0.5, 1.5) * _LOOK_SECONDS)
            try:
                await self.look()
            except (StoreUnavailable, CorruptState, PlaceError):
                continue  # the store and `_write` log it
            except Exception:  # noqa: BLE001  # whatever it is, the next look may succeed
                _log.exception("looking for lines of the log failed")

    async def look(self, old_ms: int = _OLD_MS) -> None:
        """Publish the lines that wait for `old_ms`, and drop the oldest of too many. Raises PlaceError and the store's
        errors."""
        now = await self._outbox.now()
        await self._measure(now)
        while True:
            found = 0
            async for page in self._outbox.left(now - old_ms):
                # Or each look of each replica would publish the same lines, as long as Redis does not let them go.
                await self._outbox.check(page)
                await self._write(page)
                found += len(page)
            if not found:
                break
        await self._measure(now)

    async def _measure(self, now: int) -> None:
        sizes = await self._outbox.size()
        lines = sum(size.lines for size in sizes.values())
        each = self._mean + _AROUND
        self._observer.backlog(round(lines * each), self._backlog)
        if (kept := int(self._backlog / each)) < lines:
            gone = 0
            for key, size in sizes.items():
                gone += await self._outbox.trim(key, size.lines * kept // lines)
            _log.error("the log of decisions has lost %d lines: over %d bytes of it wait in Redis", gone, self._backlog)
            self._observer.lines_lost(gone)
            lines -= gone
        since = min((size.since for size in sizes.values() if size.since is not None), default=now)
        self.progress = msgspec.structs.replace(
            self.progress, waiting=lines, seconds=max(now - since, 0) / 1_000 if lines else 0.0
        )
