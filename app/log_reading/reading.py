"""Reads a log from its directory: the files of lines and the parts that were made of them."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from app.decision_log.files import line_files
from app.decision_log.lines import LONGEST, BadLine, Line, State, decode
from app.decision_log.place import PlaceError
from app.log_reading.order import Key, by_seq, ordered
from app.log_reading.parts import part_lines

__all__ = ["Complain", "Erased", "Placed", "file_lines", "lines", "read"]

_SKIPPED: Final = 1024 * 1024
# Characters of an hour, such as `2026-11-28T09`.
_HOUR: Final = 13

# Gets what is wrong with a line: the file, the line's number and the reason.
Complain = Callable[[str], None]


class Placed(NamedTuple):
    """A line of a file: where it ends, its number, its text, and what it says."""

    end: int
    number: int
    text: bytes
    line: Line


def read(
    directory: Path,
    complain: Complain,
    key: Callable[[Line], Key] = by_seq,
    user: str | None = None,
    *,
    since: str = "",
) -> Iterator[Line]:
    """The lines of a log, or of one `user`, each once, in the order of `key`, without those of erased users.

    Those before the moment `since` are left out.

    Memory does not grow with the log; a temporary file holds it. Raises PlaceError and OSError.
    """
    erased = Erased()
    wanted = (
        line
        for line in lines(directory, complain, since)
        if line.ts >= since and (user is None or line.user in ("", user))
    )
    for line in ordered(wanted, key):
        # They come first, for they name no user.
        if isinstance(line, State) and line.what == "erased":
            erased.note(line)
        if not erased.covers(line):
            yield line


def lines(directory: Path, complain: Complain, since: str = "") -> Iterator[Line]:
    """The lines of a log in any order, some perhaps more than once: all from `since` on, and perhaps earlier ones.

    Raises PlaceError and OSError.
    """
    if not directory.is_dir():
        raise PlaceError(f"{directory}: is not a directory")
    for path in line_files(directory):
        if path.name[:_HOUR] < since[:_HOUR]:
            continue  # no line is written before its moment
        try:
            with path.open("rb") as file:
                for read_line in file_lines(file, str(path), complain):
                    yield read_line.line
        except FileNotFoundError:
            continue  # it was too old, and its process has removed it
    yield from _decoded(part_lines(directory, since), complain)


def file_lines(file: BinaryIO, name: str, complain: Complain, *, offset: int = 0, number: int = 0) -> Iterator[Placed]:
    """Each line of a file from `offset` on, before which there are `number` lines.

    A last line without its end is left alone: it is being written, or its writer is gone and has written it again.
    """
    file.seek(offset)
    while text := file.readline(LONGEST + 2):
        # Enough of a line to see that it is too long.
        start = text.removesuffix(b"\n")
        while text and not text.endswith(b"\n"):
            text = file.readline(_SKIPPED)
        if not text:
            return
        offset, number = file.tell(), number + 1
        try:
            line = decode(start)
        except BadLine as error:
            complain(f"{name}:{number}: {error}")
        else:
            yield Placed(offset, number, start, line)


def _decoded(texts: Iterable[tuple[str, bytes]], complain: Complain) -> Iterator[Line]:
    for name, text in texts:
        try:
            yield decode(text)
        except BadLine as error:
            complain(f"{name}: {error}")


class Erased:
    """Which lines belong to users who were erased: those of the epoch that ended then, and all before that moment."""

    def __init__(self) -> None:
        self._ends: dict[str, tuple[str, set[str]]] = {}
        self._last: tuple[str, str] = ("", "")

    def __len__(self) -> int:
        return len(self._ends)

    def note(self, line: State) -> None:
        """Take over what the line of an erasure says."""
        ts, epochs = self._ends.setdefault(line.user_hash, (line.ts, set()))
        epochs.add(line.epoch)
        self._ends[line.user_hash] = (max(ts, line.ts), epochs)
        self._last = ("", "")

    def covers(self, line: Line) -> bool:
        """Whether a line is gone."""
        if not self._ends or not line.user:
            return False
        if self._last[0] != line.user:
            self._last = (line.user, hashlib.sha256(line.user.encode()).hexdigest())
        found = self._ends.get(self._last[1])
        return found is not None and (line.epoch in found[1] or line.ts <= found[0])
