"""The log as files in a directory: each process writes its own, one for each hour, and a new one when it is large.

`append` hands lines to the operating system, which readers see at once. `sync` returns when all that was appended is
on the disk; only then may the caller forget it. After an error the caller appends again all that was not synced, and
it goes to a new file: a line that was cut off stays the last one of its file, where readers leave it alone.
"""

import os
import re
import secrets
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NoReturn

from app.decision_log.place import PlaceError

__all__ = ["FOLDER", "Files", "hour_of", "line_files", "remove_old"]

# Files of lines are in this folder of the log's directory.
FOLDER: Final = "lines"
_SIZE_MAX: Final = 256 * 1024 * 1024
_HOUR: Final = "%Y-%m-%dT%H"
_NAME: Final = re.compile(r"(?P<hour>[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2})_[A-Za-z0-9-]{1,100}_[0-9]{6}\.jsonl")


class Files:
    """Writes lines below `directory`, which must exist. `host` is part of the files' names. Not for several threads."""

    def __init__(
        self,
        directory: Path,
        *,
        host: str | None = None,
        size_max: int = _SIZE_MAX,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder = directory / FOLDER
        named = re.sub(r"[^A-Za-z0-9-]", "-", host or socket.gethostname())[:60]
        # In containers, all processes may have the same host and number.
        self._writer = f"{named}-{os.getpid()}-{secrets.token_hex(4)}"
        self._size_max = size_max
        self._clock = clock
        self._descriptor: int | None = None
        self._size = 0
        self._hour = ""
        self._count = 0
        # Files that were left for the next one, and whose end is not on the disk yet.
        self._unsynced: list[int] = []

    def append(self, lines: Iterable[bytes]) -> None:
        """Write `lines`, each without its line break. Raises PlaceError: what was not synced must be appended again."""
        data = b"\n".join([*lines, b""])
        if not data:
            return
        try:
            rest = memoryview(data)
            descriptor = self._current()
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            self._size += len(data)
        except OSError as error:
            self._fail(error)

    def sync(self) -> None:
        """Return when all that was appended is on the disk. Raises PlaceError, as `append`."""
        try:
            for descriptor in (*self._unsynced, *([] if self._descriptor is None else [self._descriptor])):
                os.fsync(descriptor)
        except OSError as error:
            self._fail(error)
        self._close(self._unsynced)

    def close(self) -> None:
        """Close the files. What was not synced may be lost."""
        self._close(self._unsynced)
        if self._descriptor is not None:
            self._close([self._descriptor])
            self._descriptor = None

    def _current(self) -> int:
        """The file to write to now."""
        hour = hour_of(self._clock())
        if self._descriptor is not None and (hour != self._hour or self._size >= self._size_max):
            self._unsynced.append(self._descriptor)
            self._descriptor = None
        if self._descriptor is None:
            self._descriptor = self._open(hour)
        return self._descriptor

    def _open(self, hour: str) -> int:
        # Not its parents: where a volume is not mounted, nothing may be written in its place.
        self._folder.mkdir(exist_ok=True)
        self._count += 1
        path = self._folder / f"{hour}_{self._writer}_{self._count:06d}.jsonl"
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        self._size, self._hour = 0, hour
        # A file whose name is not on the disk is lost with all that was synced.
        for folder in (self._folder, self._folder.parent):
            _sync_folder(folder)
        return descriptor

    def _fail(self, error: OSError) -> NoReturn:
        """After an error nothing is known of what is on the disk: the next lines go to a new file."""
        self.close()
        raise PlaceError(f"{self._folder}: {error.strerror or error}") from None

    def _close(self, descriptors: list[int]) -> None:
        while descriptors:
            try:
                os.close(descriptors.pop())
            except OSError:  # it is closed all the same
                continue


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def hour_of(seconds: float) -> str:
    """The hour of a Unix time as names of files have it: `2026-11-28T09`."""
    return datetime.fromtimestamp(seconds, UTC).strftime(_HOUR)


def line_files(directory: Path) -> Iterator[Path]:
    """The files of lines below `directory`, in the order of their hours. Raises PlaceError."""
    try:
        found = sorted(os.scandir(directory / FOLDER), key=lambda entry: entry.name)
    except FileNotFoundError:
        return
    except OSError as error:
        raise PlaceError(f"{error.filename}: {error.strerror}") from None
    for entry in found:
        if _NAME.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
            yield Path(entry.path)


def remove_old(directory: Path, before: float) -> int:
    """Remove the files of hours that ended before the Unix time `before`; how many there were. Raises PlaceError."""
    count, first = 0, hour_of(before)
    for path in line_files(directory):
        if path.name[: len(first)] >= first:
            break
        try:
            path.unlink(missing_ok=True)  # another process may remove it, too
        except OSError as error:
            raise PlaceError(f"{path}: {error.strerror}") from None
        count += 1
    return count
