"""Compaction: each line in the part of its hour once, however often it runs or is stopped."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from app.decision_log.files import FOLDER, Files
from app.decision_log.lines import Decision, Line, encode
from app.decision_log.place import PlaceError
from app.log_reading import aside
from app.log_reading import compact as module
from app.log_reading import split as splitting
from app.log_reading.compact import compact
from app.log_reading.parts import KINDS, engine
from app.log_reading.reading import read
from tests.unit.app.decision_log.samples import BEGIN, decision, outcome, state

HOUR = 3_600_000
EVERYTHING = [f"SELECT * FROM read_parquet('DIR/{kind}/*/*/*.parquet')" for kind in KINDS]


def write(directory: Path, *lines: Line) -> None:
    """A file with these lines."""
    files = Files(directory, clock=lambda: BEGIN / 1_000)
    files.append(map(encode, lines))
    files.close()


def refuse(problem: str) -> None:
    raise AssertionError(problem)


def done(directory: Path) -> module.Compacted:
    return compact(directory, refuse, lambda *_: None, loops={}, now=BEGIN)


def parts(directory: Path) -> dict[str, bytes]:
    """All parts with their bytes."""
    found = [path for kind in KINDS for path in directory.glob(f"{kind}/*/*/*.parquet")]
    return {str(path.relative_to(directory)): path.read_bytes() for path in found}


def rows(directory: Path, sql: str) -> list[tuple[Any, ...]]:
    with engine() as base:
        return base.execute(sql.replace("DIR", str(directory))).fetchall()


def some() -> list[Line]:
    """Decisions of two hours with outcomes, one of them in the third, and a reset."""
    return [
        decision(1),
        decision(2, ms=BEGIN + HOUR),
        outcome(3, ms=BEGIN + 2 * HOUR),
        state(4, ms=BEGIN + 2 * HOUR + 1),
        decision(1, "bob"),
    ]


def test_hours(tmp_path: Path) -> None:
    """Each kind and hour has its part; an outcome is in the hour of its decision, and each such hour has sums."""
    write(tmp_path, *some())
    found = done(tmp_path)
    assert (found.lines, found.parts, found.sums) == (5, 4, 2)
    assert sorted(parts(tmp_path)) == [
        "decisions/date=2026-11-28/hour=09/part-0.parquet",
        "decisions/date=2026-11-28/hour=10/part-0.parquet",
        "outcomes/date=2026-11-28/hour=09/part-0.parquet",
        "states/date=2026-11-28/hour=11/part-0.parquet",
    ]
    sql = "SELECT \"user\", seq, date::VARCHAR, hour FROM read_parquet('DIR/decisions/*/*/*.parquet') ORDER BY ALL"
    assert rows(tmp_path, sql) == [
        ("ann", 1, "2026-11-28", "09"),
        ("ann", 2, "2026-11-28", "10"),
        ("bob", 1, "2026-11-28", "09"),
    ]


@pytest.mark.slow
def test_again(tmp_path: Path) -> None:
    """Nothing new: nothing is written. Late lines: only their hours. The order in which lines came leaves no trace."""
    *first, late = some()
    write(tmp_path, *first)
    done(tmp_path)
    before = parts(tmp_path)
    assert done(tmp_path).parts == 0
    assert parts(tmp_path) == before
    write(tmp_path, late, first[0])
    assert done(tmp_path).parts == 1
    after = parts(tmp_path)
    assert {name for name, data in after.items() if before.get(name) != data} == {
        "decisions/date=2026-11-28/hour=09/part-0.parquet"
    }
    other = tmp_path / "other"
    other.mkdir()
    write(other, late, *first[::-1], late)
    done(other)
    assert [rows(other, sql) for sql in EVERYTHING] == [rows(tmp_path, sql) for sql in EVERYTHING]


@pytest.mark.slow
def test_stopped_at_any_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every renaming is the last thing that happens once; the run after it completes what is missing, once."""
    real = aside.move
    moves = iter(range(100))

    def move(written: Path, path: Path) -> None:
        if next(moves) == stop:
            raise KeyboardInterrupt
        real(written, path)

    def run(directory: Path) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(module, "move", move)
            patched.setattr(aside, "move", move)
            done(directory)

    sums = "SELECT * FROM read_parquet('DIR/sums/*/*/*.parquet') ORDER BY ALL"
    whole = tmp_path / "whole"
    whole.mkdir()
    write(whole, *some())
    done(whole)
    for stop in (1, 5):
        moves = iter(range(100))
        directory = tmp_path / str(stop)
        directory.mkdir()
        write(directory, *some())
        with pytest.raises(KeyboardInterrupt):
            run(directory)
        done(directory)
        assert parts(directory) == parts(whole)
        assert str(rows(directory, sums)) == str(rows(whole, sums))  # they have nan
        assert list(read(directory, refuse)) == list(read(whole, refuse))
        assert not list(directory.rglob("*.new"))
        assert not (directory / ".compact").exists()


@pytest.mark.slow
def test_the_notes_are_lost(tmp_path: Path) -> None:
    """Everything is read again and changes nothing; nor does it when a file of lines is gone."""
    write(tmp_path, *some())
    done(tmp_path)
    before = parts(tmp_path)
    for text in ('{"files":{"x":[1]}}', None):
        if text is None:
            (tmp_path / "compacted.json").unlink()
        else:
            (tmp_path / "compacted.json").write_text(text)
        found = done(tmp_path)
        assert (found.lines, found.parts) == (5, 0)
    for path in (tmp_path / FOLDER).iterdir():
        path.unlink()
    assert done(tmp_path).lines == 0
    assert parts(tmp_path) == before


def test_a_file_that_grows(tmp_path: Path) -> None:
    """It is read on from where it was; a line that was not complete then is read when it is."""
    files = Files(tmp_path, clock=lambda: BEGIN / 1_000)
    files.append([encode(decision(1))])
    [path] = (tmp_path / FOLDER).iterdir()
    torn = encode(decision(2))
    with path.open("ab") as file:
        file.write(torn[:50])
        file.flush()
        assert done(tmp_path).lines == 1
        file.write(torn[50:] + b"\n{}\n")
    said: list[str] = []
    assert compact(tmp_path, said.append, lambda *_: None, loops={}, now=BEGIN).lines == 1
    assert [problem.partition(": ")[0] for problem in said] == [f"{path}:3"]
    assert [line.seq for line in read(tmp_path, said.append)] == [1, 2]
    files.close()


def erasure(ms: int = BEGIN + 5 * HOUR) -> Line:
    return state(9, user="", ms=ms, what="erased", user_hash=hashlib.sha256(b"ann").hexdigest())


@pytest.mark.slow
@pytest.mark.parametrize("late", [False, True])
def test_erasure(tmp_path: Path, late: bool) -> None:
    """The user's lines until then leave the parts, and a part without lines goes; late ones never get in."""
    old = [line for line in some() if line.user == "ann"]
    new = decision(1, "ann", ms=BEGIN + 6 * HOUR, epoch="new")
    kept = [decision(1, "bob"), new]
    write(tmp_path, *kept, *([erasure()] if late else old))
    done(tmp_path)
    write(tmp_path, *(old if late else [erasure()]))
    done(tmp_path)
    assert sorted(parts(tmp_path)) == [
        "decisions/date=2026-11-28/hour=09/part-0.parquet",
        "decisions/date=2026-11-28/hour=15/part-0.parquet",
        "states/date=2026-11-28/hour=14/part-0.parquet",
    ]
    left = rows(tmp_path, "SELECT line FROM read_parquet('DIR/decisions/*/*/*.parquet') ORDER BY ts")
    assert [line for (line,) in left] == [encode(each).decode() for each in kept]
    assert done(tmp_path).parts == 0


def test_many_hours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More hours than files that are open at once."""
    monkeypatch.setattr(splitting, "_OPEN_FILES", 2)
    lines = [decision(seq, ms=BEGIN + seq % 4 * HOUR) for seq in range(1, 13)]
    write(tmp_path, *lines)
    assert done(tmp_path).parts == 4
    assert [line for line in read(tmp_path, refuse) if isinstance(line, Decision)] == lines


def test_a_damaged_part(tmp_path: Path) -> None:
    """It is named in one line, and nothing is changed; reading names it too."""
    write(tmp_path, decision(1))
    done(tmp_path)
    [path] = tmp_path.glob("decisions/*/*/*.parquet")
    path.write_bytes(b"x" * 100)
    write(tmp_path, decision(2))
    for attempt in (lambda: done(tmp_path), lambda: list(read(tmp_path, refuse))):
        with pytest.raises(PlaceError, match=rf"^DuckDB: .*{path.name}.*$"):
            attempt()
    assert path.read_bytes() == b"x" * 100


def test_progress(tmp_path: Path) -> None:
    """It grows from the first line to the end."""
    write(tmp_path, *some())
    seen: list[float] = []
    compact(tmp_path, refuse, lambda part, whole: seen.append(part / whole), loops={}, now=BEGIN)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    assert len(seen) > 5


def test_one_at_a_time(tmp_path: Path) -> None:
    """A second one is refused, and a missing directory too."""

    def other(_: int, __: int) -> None:
        with pytest.raises(PlaceError, match="another process"):
            done(tmp_path)

    write(tmp_path, *some())
    compact(tmp_path, refuse, other, loops={}, now=BEGIN)
    with pytest.raises(PlaceError, match="is not a directory"):
        done(tmp_path / "missing")


@pytest.mark.slow
def test_sums_follow(tmp_path: Path) -> None:
    """They are made when an hour changes, once more when its last window has closed, and go with its decisions."""
    write(tmp_path, decision(1), decision(1, "bob", ms=BEGIN + HOUR))
    day = 24 * HOUR
    sums = "read_parquet('DIR/sums/*/*/*.parquet')"
    open_now = f"SELECT hour::INTEGER, sum(open) FROM {sums} WHERE policy <> '' GROUP BY hour ORDER BY hour"
    for now, made, left in (
        (BEGIN, 2, [2.0, 2.0]),
        (BEGIN + day - 1, 0, [2.0, 2.0]),
        (BEGIN + day, 1, [0.0, 2.0]),
    ):
        found = compact(tmp_path, refuse, lambda *_: None, loops={}, now=now)
        assert found.sums == made
        assert [count for _, count in rows(tmp_path, open_now)] == left
    notes = tmp_path / "compacted.json"
    notes.write_text(notes.read_text().replace('"form":1', '"form":0'))
    assert (done(tmp_path).sums, done(tmp_path).sums) == (2, 0), "those of an earlier version are made anew, once"
    write(tmp_path, erasure())
    assert done(tmp_path).sums == 1
    assert [hour for hour, _ in rows(tmp_path, open_now)] == [10]
