"""The places of the log as a publisher writes to them: files by a thread, a stream by a connection of its own."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import nats.errors
from nats.aio.client import Client

from app.decision_log.files import Files, remove_old
from app.decision_log.jetstream import Stream
from app.decision_log.place import PlaceError

__all__ = ["Folder", "Streamed"]

_DAY: Final = 86_400
# Between two looks for files that are too old.
_CLEAN_SECONDS: Final = 3_600.0
_CLOSE_SECONDS: Final = 2.0


class Folder:
    """Files below `directory`, each kept for `days` after its hour (0: forever)."""

    def __init__(self, directory: Path, *, days: int = 0) -> None:
        self._directory = directory
        self._files = Files(directory)
        self._days = days
        self._cleaned = -math.inf  # the machine may have started a moment ago, and its clock with it

    async def write(self, lines: Sequence[tuple[str, bytes]]) -> None:
        """Return when the lines are on the disk. Raises PlaceError."""
        writing = asyncio.get_running_loop().run_in_executor(None, self._write, [line for _, line in lines])
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            await asyncio.wait([writing])  # a thread cannot be stopped, and no two may write at once
            raise

    def _write(self, lines: Sequence[bytes]) -> None:
        self._files.append(lines)
        self._files.sync()
        now = time.monotonic()
        if self._days and now - self._cleaned > _CLEAN_SECONDS:
            self._cleaned = now
            remove_old(self._directory, time.time() - self._days * _DAY)

    async def close(self) -> None:
        await asyncio.to_thread(self._files.close)


class Streamed:
    """The stream in NATS JetStream, kept for `days` if it is made here (0: forever). `connect` opens a connection."""

    def __init__(self, connect: Callable[[], Awaitable[Client]], *, domain: str = "", days: int = 0) -> None:
        self._connect = connect
        self._domain = domain
        self._days = days
        self._client: Client | None = None
        self._stream: Stream | None = None

    async def write(self, lines: Sequence[tuple[str, bytes]]) -> None:
        """Return when the lines are acknowledged. Raises PlaceError; the next write then connects anew."""
        try:
            if self._stream is None:
                self._stream = await self._opened()
            await self._stream.write(lines)
        except BaseException:
            await self.close()
            raise

    async def _opened(self) -> Stream:
        try:
            self._client = await self._connect()
        except (nats.errors.Error, TimeoutError, OSError) as error:
            raise PlaceError(f"NATS cannot be reached: {type(error).__name__}") from None
        stream = Stream(self._client.jetstream(domain=self._domain or None), age=self._days * _DAY)
        await stream.open()
        return stream

    async def close(self) -> None:
        client, self._client, self._stream = self._client, None, None
        if client is not None:
            with suppress(nats.errors.Error, TimeoutError, OSError):
                await asyncio.wait_for(client.close(), _CLOSE_SECONDS)
