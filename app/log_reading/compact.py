"""Compaction: the lines that came since the last time become parts, hour by hour.

It may be stopped and started again at any moment. New parts are written aside and renamed; only when all are on the
disk the file `compacted.json` notes how far each file of lines was read. So lines are perhaps read again, but a part
takes each line once. A part that gains no line and loses none is not touched.
"""

import fcntl
import os
import shutil
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, Self

import msgspec

from app.decision_log.files import line_files
from app.decision_log.lines import Decision, Outcome, State
from app.decision_log.place import PlaceError
from app.log_reading.parts import KINDS, NAME, columns, engine, folder_of, parts, staged, text
from app.log_reading.reading import Complain, Placed, file_lines

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

__all__ = ["Compacted", "alone", "compact", "put"]

_NOTES: Final = "compacted.json"
_ASIDE: Final = ".compact"
_LOCK: Final = ".lock"
_OPEN_FILES: Final = 64
_KIND: Final = {Decision: "decisions", Outcome: "outcomes", State: "states"}
# Rows whose columns are gathered in memory: few, since their lines are long.
_GROUP: Final = 20_480
_GONE: Final = """
EXISTS (
    SELECT 1 FROM erased
    WHERE erased.user_hash = sha256(t."user") AND (erased.epoch = t.epoch OR t.ts <= erased.ts)
)
"""


class Compacted(msgspec.Struct):
    """What was done: `lines` read for the first time or again, `parts` written, and `hours` whose decisions or their
    outcomes changed."""

    lines: int = 0
    parts: int = 0
    hours: set[str] = set()


class _Notes(msgspec.Struct):
    """How far each file was read: the offset, and the number of lines before it."""

    files: dict[str, tuple[int, int]] = {}


def compact(directory: Path, complain: Complain, progress: Callable[[int, int], object]) -> Compacted:
    """Make parts of the lines below `directory`. `progress` gets how much is done, of how much.

    Raises PlaceError, parts.MissingExtra and OSError.
    """
    if not directory.is_dir():
        raise PlaceError(f"{directory}: is not a directory")
    with alone(directory):
        aside = directory / _ASIDE
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        notes, done = _noted(directory), Compacted()
        whole = max(
            sum(path.stat().st_size - notes.files.get(path.name, (0, 0))[0] for path in line_files(directory)), 1
        )
        size = 0
        with engine(aside) as base:
            read = _Notes()
            with _Split(aside) as split:
                for name, place in _split(directory, split, notes, done, complain):
                    size += place[0] - read.files.get(name, place)[0]
                    read.files[name] = place
                    progress(size, 2 * whole)
            hours = _erase(directory, aside, base)
            for number, folder in enumerate(hours, 1):
                done.parts += _write(directory / folder, aside / f"{folder}.jsonl", base, aside)
                progress(whole + whole * number // len(hours), 2 * whole)
        put(directory / _NOTES, msgspec.json.encode(read))
        shutil.rmtree(aside)
        progress(2 * whole, 2 * whole)
    return done


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Nothing else changes what is kept in this directory meanwhile. Raises PlaceError."""
    with (directory / _LOCK).open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PlaceError(f"{directory}: is being changed by another process") from None
        yield


def _noted(directory: Path) -> _Notes:
    try:
        return msgspec.json.decode((directory / _NOTES).read_bytes(), type=_Notes)
    except (FileNotFoundError, msgspec.DecodeError):
        return _Notes()  # everything is read again, and changes nothing


def _split(
    directory: Path, split: "_Split", notes: _Notes, done: Compacted, complain: Complain
) -> Iterator[tuple[str, tuple[int, int]]]:
    """Copy new lines to a file for each kind and hour; after each line which file was read, and how far."""
    for path in line_files(directory):
        offset, number = notes.files.get(path.name, (0, 0))
        yield path.name, (offset, number)
        try:
            with path.open("rb") as file:
                for placed in file_lines(file, str(path), complain, offset=offset, number=number):
                    split.add(placed)
                    done.lines += 1
                    if isinstance(placed.line, Decision):
                        done.hours.add(placed.line.ts[:13])
                    elif isinstance(placed.line, Outcome) and placed.line.decided:
                        done.hours.add(placed.line.decided[:13])
                    yield path.name, (placed.end, placed.number)
        except FileNotFoundError:
            continue  # it was too old, and its process has removed it


class _Split:
    """Files of lines for each kind and hour, of which only some are open."""

    def __init__(self, aside: Path) -> None:
        self._aside = aside
        self._open: OrderedDict[str, BinaryIO] = OrderedDict()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self._open:
            self._open.popitem()[1].close()

    def add(self, placed: Placed) -> None:
        folder = folder_of(_KIND[type(placed.line)], placed.line.ts)
        file = self._open.pop(folder, None)
        if file is None:
            if len(self._open) == _OPEN_FILES:
                self._open.popitem(last=False)[1].close()
            path = self._aside / f"{folder}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("ab")
        self._open[folder] = file
        file.write(placed.text + b"\n")


def _erase(directory: Path, aside: Path, base: "DuckDBPyConnection") -> list[str]:
    """Make the table of all erased users; the folders of the hours that get lines, or have some of erased users."""
    base.execute("CREATE TABLE erased (user_hash VARCHAR, epoch VARCHAR, ts TIMESTAMP)")
    for path in parts(directory, "states"):
        known = f"SELECT user_hash, epoch, ts FROM read_parquet({text(path)}) WHERE what = 'erased'"  # noqa: S608
        base.execute(f"INSERT INTO erased {known}")
    fresh = sorted(path.relative_to(aside) for path in aside.glob("*/date=*/hour=*.jsonl"))
    for path in fresh:
        if path.parts[0] == "states":
            new = f"SELECT user_hash, epoch, ts FROM ({staged('states', aside / path)}) WHERE what = 'erased'"  # noqa: S608
            base.execute(f"INSERT INTO erased {new}")
    folders = {str(path.with_suffix("")) for path in fresh}
    [[some]] = base.execute("SELECT count(*) FROM erased").fetchall()
    for kind in KINDS if some else ():
        for path in parts(directory, kind):
            gone = f"SELECT 1 FROM read_parquet({text(path)}) t WHERE {_GONE} LIMIT 1"  # noqa: S608
            if base.execute(gone).fetchone():
                folders.add(str(path.parent.relative_to(directory)))
    return sorted(folders)


def _write(folder: Path, lines: Path, base: "DuckDBPyConnection", aside: Path) -> bool:
    """Write the part of an hour anew if it changes; whether it did."""
    kind = folder.parts[-3]
    part = folder / NAME
    named = ", ".join(f'"{name}"' for name in columns(kind))
    nothing = f"SELECT * FROM ({staged(kind, _empty(aside))})"  # noqa: S608
    old = f"SELECT {named} FROM read_parquet({text(part)}, hive_partitioning = false)" if part.exists() else nothing  # noqa: S608
    base.execute(f"CREATE OR REPLACE TABLE fresh AS {staged(kind, lines) if lines.exists() else nothing}")
    # Rows by number, so that the long lines are not in memory while repeated ones are looked for.
    key = '"user", epoch, seq'
    base.execute(
        f"CREATE OR REPLACE TABLE kept AS SELECT min(rowid) AS id FROM fresh ANTI JOIN ({old}) USING ({key}) "  # noqa: S608
        f"GROUP BY {key}"
    )
    every = f"SELECT {named} FROM ({old}) UNION ALL SELECT {named} FROM fresh WHERE rowid IN (SELECT id FROM kept)"  # noqa: S608
    [[new]] = base.execute("SELECT count(*) FROM kept").fetchall()
    [[gone]] = base.execute(f"SELECT count(*) FROM ({old}) t WHERE {_GONE}").fetchall()  # noqa: S608
    if not new and not gone:
        return False
    written = aside / "part.parquet"
    base.execute(
        f"COPY (SELECT * FROM ({every}) t WHERE NOT {_GONE} ORDER BY ts, {key}) "  # noqa: S608
        f"TO {text(written)} (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {_GROUP})"
    )
    [[left]] = base.execute(f"SELECT count(*) FROM read_parquet({text(written)})").fetchall()  # noqa: S608
    if left:
        folder.mkdir(parents=True, exist_ok=True)
        move(written, part)
    else:
        written.unlink()
        part.unlink(missing_ok=True)
    return True


def _empty(aside: Path) -> Path:
    """A file without lines, of which a table with the right columns is made."""
    path = aside / "empty.jsonl"
    path.touch()
    return path


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
