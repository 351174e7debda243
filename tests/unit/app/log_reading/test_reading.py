"""Reading a log: every line once, what is broken named, and nothing of erased users."""

import hashlib
import io
from pathlib import Path

import pytest

from app.decision_log.files import FOLDER, Files
from app.decision_log.lines import LONGEST, Line, encode
from app.decision_log.place import PlaceError
from app.log_reading.compact import compact
from app.log_reading.reading import Erased, file_lines, read
from tests.unit.app.decision_log.samples import BEGIN, decision, outcome, state


def write(directory: Path, *lines: Line) -> None:
    """A file with these lines."""
    files = Files(directory, clock=lambda: BEGIN / 1_000)
    files.append(map(encode, lines))
    files.close()


def refuse(problem: str) -> None:
    raise AssertionError(problem)


def test_each_line_once(tmp_path: Path) -> None:
    """From several files, from parts, and from both."""
    lines: list[Line] = [decision(1), outcome(2), state(3), decision(1, "bob")]
    write(tmp_path, *lines)
    write(tmp_path, *lines[::-1])
    assert list(read(tmp_path, refuse)) == lines
    compact(tmp_path, refuse, lambda *_: None, loops={}, now=BEGIN)
    assert list(read(tmp_path, refuse)) == lines
    for path in (tmp_path / FOLDER).iterdir():
        path.unlink()
    assert list(read(tmp_path, refuse)) == lines


def test_since(tmp_path: Path) -> None:
    """Lines before a moment are left out, wherever they are; what is damaged before its hour is not read."""
    lines: list[Line] = [decision(1), decision(2, ms=BEGIN + 1), decision(3, ms=BEGIN + 3_600_000)]
    write(tmp_path, *lines[:2])
    later = Files(tmp_path, clock=lambda: BEGIN / 1_000 + 3_600)
    later.append([encode(lines[2])])
    later.close()
    for _ in ("lines", "parts"):
        assert list(read(tmp_path, refuse, since="2026-11-28T09:00:00.124Z")) == lines[1:]
        assert list(read(tmp_path, refuse, since="2026-11-28T09:00:00.123Z")) == lines
        compact(tmp_path, refuse, lambda *_: None, loops={}, now=BEGIN)
        for path in (tmp_path / FOLDER).iterdir():
            path.unlink()
    (tmp_path / "decisions/date=2026-11-28/hour=09/part-0.parquet").write_bytes(b"?")
    assert list(read(tmp_path, refuse, since="2026-11-28T10:00:00.000Z")) == lines[2:]


def test_one_user(tmp_path: Path) -> None:
    """Erasures are read with it, for they name no user."""
    end = state(9, user="", what="erased", user_hash=hashlib.sha256(b"ann").hexdigest())
    write(tmp_path, decision(1), decision(1, "bob"), decision(2, "bob"))
    assert list(read(tmp_path, refuse, user="ann")) == [decision(1)]
    write(tmp_path, end)
    assert list(read(tmp_path, refuse, user="ann")) == [end]
    assert list(read(tmp_path, refuse, user="bob")) == [end, decision(1, "bob"), decision(2, "bob")]


def test_a_torn_last_line(tmp_path: Path) -> None:
    """It is left alone without a word, also when it could be read: its end may be missing."""
    write(tmp_path, decision(1))
    [path] = (tmp_path / FOLDER).iterdir()
    with path.open("ab") as file:
        file.write(encode(decision(2)))
    assert list(read(tmp_path, refuse)) == [decision(1)]


@pytest.mark.parametrize("length", [LONGEST, LONGEST + 1, LONGEST + 2, LONGEST + 3, 3 * LONGEST])
def test_what_is_broken_is_named(length: int) -> None:
    """By file and number; those around it are read, and memory does not grow with a line."""
    first, last = encode(decision(1)), encode(decision(2))
    said: list[str] = []
    file = io.BytesIO(b"\n".join([first, b"x" * length, b"", b"{}", last, b""]))
    found = list(file_lines(file, "f", said.append))
    assert [placed.line.seq for placed in found] == [1, 2]
    assert [placed.number for placed in found] == [1, 5]
    assert [problem.split(" ")[0] for problem in said] == ["f:2:", "f:3:", "f:4:"]
    assert ("more than" in said[0]) == (length > LONGEST)


def test_it_goes_on_where_it_was() -> None:
    """From the end of a line on, with the right numbers."""
    texts = [encode(decision(seq)) for seq in range(1, 5)]
    file = io.BytesIO(b"\n".join([*texts, b""]))
    first = list(file_lines(file, "f", refuse))
    assert [placed.text for placed in first] == texts
    rest = list(file_lines(file, "f", refuse, offset=first[1].end, number=first[1].number))
    assert rest == first[2:]


def test_no_log(tmp_path: Path) -> None:
    """A directory without lines is an empty log, and what is no directory is an error."""
    assert list(read(tmp_path, refuse)) == []
    with pytest.raises(PlaceError, match="is not a directory"):
        list(read(tmp_path / "missing", refuse))


def test_the_erased_are_gone(tmp_path: Path) -> None:
    """All of their epochs until then; those who came later, and others, stay."""
    digest = hashlib.sha256(b"ann").hexdigest()
    end = state(9, user="", ms=BEGIN + 5_000, what="erased", user_hash=digest)
    kept: list[Line] = [end, decision(1, "ann", epoch="new", ms=BEGIN + 5_001), decision(1, "bob")]
    write(tmp_path, decision(1), *kept, decision(1, epoch="old", ms=BEGIN - 1))
    # A clock that ran ahead does not keep what belongs to the epoch.
    write(tmp_path, decision(8, ms=BEGIN + 9_000))
    assert list(read(tmp_path, refuse)) == kept


def test_erased_twice() -> None:
    """The later erasure counts, and the epochs of both."""
    erased = Erased()
    digest = hashlib.sha256(b"ann").hexdigest()
    for epoch, ms in (("b", BEGIN + 9), ("a", BEGIN + 5)):
        erased.note(state(9, user="", ms=ms, what="erased", user_hash=digest, epoch=epoch))
    assert len(erased) == 1
    assert [erased.covers(decision(1, ms=BEGIN + ms, epoch="c")) for ms in (8, 9, 10)] == [True, True, False]
    assert [erased.covers(decision(1, ms=BEGIN + 99, epoch=epoch)) for epoch in "abc"] == [True, True, False]
    assert not erased.covers(decision(1, "bob"))
