"""Changes files of a log so that a reader, also one after a crash, finds each file complete: the old or the new one."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from app.decision_log.place import PlaceError

__all__ = ["alone", "move", "put"]

_LOCK: Final = ".lock"


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """A block in which no other process changes this directory. Raises PlaceError."""
    with (directory / _LOCK).open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PlaceError(f"{directory}: is being changed by another process") from None
        yield


def put(path: Path, data: bytes) -> None:
    """Write a file aside and rename it."""
    aside = path.with_name(f"{path.name}.new")
    aside.write_bytes(data)
    move(aside, path)


def move(aside: Path, path: Path) -> None:
    """Rename a file so that after a power failure there is the old one or the whole new one."""
    with aside.open("rb") as file:
        os.fsync(file.fileno())
    aside.replace(path)
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
