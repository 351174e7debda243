"""Sorts by user what comes in no order, in a temporary file, so that memory does not grow with the number of users."""

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
    """Kinds of keys with some data each, by user. The file has no name and goes with `close`.

    All methods raise OSError, if the disk is full for instance.
    """

    def __init__(self) -> None:
        with _told():
            # The empty name is a file of SQLite's own, in the system's folder for temporary files.
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
        """Note a user and, unless it is empty, a kind; of the same kind the last one counts."""
        with _told():
            self._base.execute("INSERT OR REPLACE INTO found VALUES (?, ?, ?)", (user, kind, data))

    def kinds(self, user: str) -> list[str]:
        """The kinds noted for a user."""
        with _told():
            rows = self._base.execute("SELECT kind FROM found WHERE user = ? AND kind <> ''", (user,))
            return [kind for (kind,) in rows]

    def count(self) -> int:
        """How many users there are."""
        with _told():
            [number] = self._base.execute("SELECT count(DISTINCT user) FROM found").fetchone()
        return int(number)

    def __iter__(self) -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
        """Each user with the kinds noted and their data. Nothing may be added meanwhile."""
        with _told():
            rows = self._base.execute("SELECT user, kind, data FROM found ORDER BY user, kind")
            for user, group in groupby(rows, itemgetter(0)):
                yield user, [(kind, data) for _, kind, data in group if kind]


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise OSError(0, str(error), "a temporary file") from error
