"""Sorts kinds of keys by user in a temporary file, so that memory does not grow with the number of users."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from operator import itemgetter
from types import TracebackType
from typing import Final, Self

__all__ = ["Sorter"]

_CACHE_KIB: Final = 8_192


class Sorter:
    """Kinds of keys with some data each, by user. A context manager: its end removes the file, which has no name.

    All methods raise OSError, for example if the disk is full.
    """

    def __init__(self) -> None:
        with _as_os_error():
            # With an empty name SQLite makes a file of its own in the system's folder for temporary files.
            self._base = sqlite3.connect("", isolation_level=None)
            self._base.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            self._base.execute("PRAGMA journal_mode = OFF")
            self._base.execute(
                "CREATE TABLE found (user TEXT, kind TEXT, data BLOB, PRIMARY KEY (user, kind)) WITHOUT ROWID"
            )
            self._base.execute("BEGIN")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._base.close()

    def add(self, user: str, kind: str = "", data: bytes = b"") -> None:
        """Note a user and, unless it is empty, a kind; a kind noted again replaces its data."""
        with _as_os_error():
            self._base.execute("INSERT OR REPLACE INTO found VALUES (?, ?, ?)", (user, kind, data))

    def kinds(self, user: str) -> list[str]:
        """The kinds noted for a user."""
        with _as_os_error():
            rows = self._base.execute("SELECT kind FROM found WHERE user = ? AND kind <> ''", (user,))
            return [kind for (kind,) in rows]

    def count(self) -> int:
        """The number of users."""
        with _as_os_error():
            [number] = self._base.execute("SELECT count(DISTINCT user) FROM found").fetchone()
        return int(number)

    def __iter__(self) -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
        """Each user in order, with the kinds noted and their data. Nothing may be added during the iteration."""
        with _as_os_error():
            rows = self._base.execute("SELECT user, kind, data FROM found ORDER BY user, kind")
            for user, group in groupby(rows, itemgetter(0)):
                yield user, [(kind, data) for _, kind, data in group if kind]


@contextmanager
def _as_os_error() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise OSError(0, str(error), "a temporary file") from error
