"""Where the log of a chaos run is kept, and how that place is broken: files on a disk that fills, or a JetStream stream
whose server is killed."""

import os
import random
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Final, Protocol

import msgspec

from app.decision_log.jetstream import Stream
from app.decision_log.places import Folder, Streamed
from app.decision_log.publish import Place
from app.events.client import reach
from app.log_reading.pull import pull
from tests.support.nats_servers import nats_server
from tests.support.processes import program, temporary_directory
from tests.support.waiting import ServerError, until
from tests.system.chaos.faults import Fault, frozen, killed

__all__ = ["PLACES", "Copied", "LogPlace", "folder"]

# More than a run writes; nothing of it is taken before it is written.
_DISK: Final = "1g"
_PAGE: Final = 4_096


class Copied(Protocol):
    """Gives a directory with the files of all lines in the place. Raises AssertionError if lines were dropped there."""

    async def __call__(self) -> Path: ...


class LogPlace(msgspec.Struct):
    """A place of the log, named `what`: the `settings` of a service that writes to it, a place to `open` for what they
    left behind, and all its lines as files (`copied`). `strike` draws a fault; the first is the one it is for."""

    what: str
    settings: Mapping[str, str]
    strike: Callable[[random.Random], Fault]
    open: Callable[[], Place]
    copied: Copied


def folder(directory: Path, strike: Callable[[random.Random], Fault] | None = None) -> LogPlace:
    """Files below `directory`, which is there."""

    async def copied() -> Path:
        return directory

    def away(draw: random.Random) -> Fault:
        gone = directory.with_name("away")
        return Fault(
            "the log's directory",
            "renamed, renamed back",
            lambda: directory.rename(gone),
            lambda: gone.rename(directory),
            draw.uniform(0.5, 4.0),
        )

    return LogPlace("files", {"DECISION_LOG": directory.as_uri()}, strike or away, lambda: Folder(directory), copied)


@contextmanager
def files() -> Iterator[LogPlace]:
    """Files on a disk of their own, which is full for a while, or their directory is away.

    Only root can have the disk. For others the directory alone is taken away, which whoever starts meanwhile notices.
    """
    with temporary_directory() as directory, _disk(directory) as has_disk:
        lines = directory / "log"
        lines.mkdir()
        away = folder(lines).strike
        struck = 0

        def strike(draw: random.Random) -> Fault:
            nonlocal struck
            struck += 1
            if has_disk and (struck == 1 or draw.random() < 0.6):
                seconds = draw.uniform(0.5, 4.0)
                return Fault(
                    "the log's disk",
                    "full, has room again",
                    lambda: _fill(directory),
                    lambda: _empty(directory),
                    seconds,
                )
            return away(draw)

        yield folder(lines, strike)


@contextmanager
def _disk(directory: Path) -> Iterator[bool]:
    """A tmpfs at `directory`; whether there is one."""
    if os.geteuid() or _mount("-t", "tmpfs", "-o", f"size={_DISK}", "tmpfs", str(directory)):
        yield False
        return
    try:
        yield True
    finally:
        subprocess.run([program("umount"), "-l", str(directory)], check=True)


def _mount(*words: str) -> int:
    with suppress(ServerError):
        return subprocess.run([program("mount"), *words], check=False, capture_output=True).returncode
    return 1


def _fill(directory: Path) -> None:
    """Leave room for less than a write, so that lines are cut off."""

    def filled() -> bool:
        found = os.statvfs(directory)
        used = (found.f_blocks - found.f_bfree) * found.f_frsize
        # Refused where others have written meanwhile.
        return not _mount("-o", f"remount,size={used + _PAGE}", str(directory))

    until(filled, "the disk of the log is full")


def _empty(directory: Path) -> None:
    if _mount("-o", f"remount,size={_DISK}", str(directory)):
        raise ServerError(f"{directory} does not get room again")


@contextmanager
def stream() -> Iterator[LogPlace]:
    """A stream in JetStream, whose one server is killed, frozen and started again."""
    with nats_server() as server, temporary_directory() as directory:
        struck = 0

        def strike(draw: random.Random) -> Fault:
            nonlocal struck
            struck += 1
            how = killed if struck == 1 else draw.choice([killed, killed, frozen])
            return how("NATS", server, draw.uniform(0.5, 4.0))

        async def copied() -> Path:
            client = await reach([server.url], "")
            try:
                _, lost = await pull(Stream(client.jetstream()), directory, lambda _: None)
            finally:
                await client.close()
            if lost:
                raise AssertionError(f"the stream lost {lost} messages")
            return directory

        settings = {"DECISION_LOG": "nats", "NATS_URL": server.url}
        yield LogPlace("a stream", settings, strike, lambda: Streamed(lambda: reach([server.url], "")), copied)


PLACES: Final[Mapping[str, Callable[[], AbstractContextManager[LogPlace]]]] = {"files": files, "stream": stream}
