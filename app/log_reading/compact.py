"""Compaction: the lines that came since the last time become parts and sums, hour by hour.

It may be stopped and started again at any moment. New parts are written aside and renamed; only when all are on the
disk the file `compacted.json` notes how far each file of lines was read. So lines are perhaps read again, but a part
takes each line once. A part that gains no line and loses none is not touched. Before a part changes, a file `.stale`
marks the sums of its hour, until they are made anew.
"""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from app.decision_log.files import line_files
from app.decision_log.place import PlaceError
from app.log_reading.aside import alone, move, put
from app.log_reading.parts import KINDS, NAME, columns, engine, parts, staged, text, told
from app.log_reading.reading import Complain
from app.log_reading.split import split
from app.log_reading.sums import summed
from app.policies.loop import Loop

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

__all__ = ["Compacted", "compact"]

_NOTES: Final = "compacted.json"
_ASIDE: Final = ".compact"
_STALE: Final = ".stale"
# Before 1, sums lacked what was drawn from.
_FORM: Final = 1
# Rows whose columns are gathered in memory: few, since their lines are long.
_GROUP: Final = 8_192
_GONE: Final = """
EXISTS (
    SELECT 1 FROM erased
    WHERE erased.user_hash = sha256(t."user") AND (erased.epoch = t.epoch OR t.ts <= erased.ts)
)
"""


class Compacted(msgspec.Struct):
    """What was done: `lines` read for the first time or again, `parts` written, and `sums` of hours made."""

    lines: int = 0
    parts: int = 0
    sums: int = 0


class _Notes(msgspec.Struct):
    """How far each file was read: the offset, and the number of lines before it; and of each hour with open windows
    when the last one closes (ms since 1970). Sums of another `form` are made anew."""

    files: dict[str, tuple[int, int]] = {}
    closes: dict[str, int] | None = None
    form: int = 0


def compact(
    directory: Path,
    complain: Complain,
    progress: Callable[[int, int], object],
    *,
    loops: Mapping[str, Loop],
    now: int,
) -> Compacted:
    """Make parts of the lines below `directory`, and sums of the hours that changed, or whose windows are closed now.

    `loops` say in which range rewards are, and `now` (ms since 1970) which windows are closed. `progress` gets how much
    is done, of how much. Raises PlaceError, parts.MissingExtra and OSError.
    """
    if not directory.is_dir():
        raise PlaceError(f"{directory}: is not a directory")
    with alone(directory):
        aside = directory / _ASIDE
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        notes, done = _noted(directory), Compacted()
        sizes = {path.name: path.stat().st_size for path in line_files(directory)}
        whole = max(sum(size - notes.files.get(name, (0, 0))[0] for name, size in sizes.items()), 1)
        files: dict[str, tuple[int, int]] = {}
        size = 0
        for name, place in split(directory, aside, notes.files, complain):
            size += place[0] - files.get(name, place)[0]
            done.lines += place[1] != files.get(name, place)[1]
            files[name] = place
            progress(size, 3 * whole)
        with engine(aside) as base, told():
            folders = _erase(directory, aside, base)
            for number, folder in enumerate(folders, 1):
                done.parts += _write(directory, folder, base, aside)
                progress(whole + whole * number // len(folders), 3 * whole)
            closes = notes.closes or {}
            due = _due(directory, notes, now)

            def make(hour: str, written: Path) -> int | None:
                return summed(directory, hour, base, loops, now=now, written=written)

            for number, hour in enumerate(due, 1):
                _sum(directory, hour, closes, make)
                progress(2 * whole + whole * number // len(due), 3 * whole)
            done.sums = len(due)
        open_hours = {hour: last for hour, last in closes.items() if last > now}
        put(directory / _NOTES, msgspec.json.encode(_Notes(files, open_hours, _FORM)))
        shutil.rmtree(aside)
        progress(3 * whole, 3 * whole)
    return done


def _noted(directory: Path) -> _Notes:
    try:
        found = msgspec.json.decode((directory / _NOTES).read_bytes(), type=_Notes)
        return found if found.form == _FORM else _Notes(found.files)
    except (FileNotFoundError, msgspec.DecodeError):
        return _Notes()  # everything is read again, and changes nothing


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


def _write(directory: Path, folder: str, base: "DuckDBPyConnection", aside: Path) -> bool:
    """Write the part in a folder, such as `decisions/date=2026-11-28/hour=09`, anew if it changes; whether it did."""
    kind, _, hour = folder.partition("/")
    part, lines = directory / folder / NAME, aside / f"{folder}.jsonl"
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
    if kind != "states":
        stale = directory / "sums" / hour / _STALE
        stale.parent.mkdir(parents=True, exist_ok=True)
        stale.touch()
    if left:
        part.parent.mkdir(parents=True, exist_ok=True)
        move(written, part)
    else:
        written.unlink()
        part.unlink(missing_ok=True)
    return True


def _due(directory: Path, notes: _Notes, now: int) -> list[str]:
    """The hours, such as `date=2026-11-28/hour=09`, whose sums must be made anew."""
    stale = {str(path.parent.relative_to(directory / "sums")) for path in directory.glob(f"sums/*/*/{_STALE}")}
    if notes.closes is None:
        return sorted(
            stale | {str(path.parent.relative_to(directory / "decisions")) for path in parts(directory, "decisions")}
        )
    return sorted(stale | {hour for hour, last in notes.closes.items() if last <= now})


def _sum(directory: Path, hour: str, closes: dict[str, int], make: Callable[[str, Path], int | None]) -> None:
    """Make the sums of an hour anew, and note when its last window closes."""
    folder = directory / "sums" / hour
    folder.mkdir(parents=True, exist_ok=True)
    written = directory / _ASIDE / "sums.parquet"
    last = make(hour, written)
    if last is None:
        (folder / NAME).unlink(missing_ok=True)
        closes.pop(hour, None)
    else:
        move(written, folder / NAME)
        closes[hour] = last
    (folder / _STALE).unlink(missing_ok=True)


def _empty(aside: Path) -> Path:
    """A file without lines, of which a table with the right columns is made."""
    path = aside / "empty.jsonl"
    path.touch()
    return path
