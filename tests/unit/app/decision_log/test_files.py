"""Files of lines: what is synced is there, whatever fails, and a line that was cut off is never continued."""

import errno
import os
import resource
from pathlib import Path

import pytest

from app.decision_log.files import FOLDER, Files, hour_of, line_files, remove_old
from app.decision_log.place import PlaceError

HOUR = 3_600.0


class Clock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.now = 1_000 * HOUR

    def __call__(self) -> float:
        return self.now


def texts(directory: Path) -> list[bytes]:
    return [path.read_bytes() for path in line_files(directory)]


def test_lines_can_be_read_while_they_are_written(tmp_path: Path) -> None:
    """What was appended is in the file at once, and again appended behind it."""
    files = Files(tmp_path, host="a")
    files.append([b"1", b"2"])
    assert texts(tmp_path) == [b"1\n2\n"]
    files.append([b"3"])
    files.append([])
    files.sync()
    assert texts(tmp_path) == [b"1\n2\n3\n"]
    files.close()


def test_a_new_file_for_each_hour_and_size(tmp_path: Path) -> None:
    """Names sort by hour, and those of one hour in the order of writing."""
    clock = Clock()
    files = Files(tmp_path, host="a", size_max=4, clock=clock)
    for line in (b"1", b"2", b"3"):
        files.append([line])
    clock.now += HOUR
    files.append([b"4"])
    files.sync()
    assert texts(tmp_path) == [b"1\n2\n", b"3\n", b"4\n"]
    names = [path.name for path in line_files(tmp_path)]
    assert [name[:13] for name in names] == [hour_of(1_000 * HOUR)] * 2 + [hour_of(1_001 * HOUR)]
    files.close()


def test_each_process_has_its_own(tmp_path: Path) -> None:
    """Two writers never share a file, even with one name and one number; nor does a name lead out of the folder."""
    writers = [Files(tmp_path, host="../pod/7\n") for _ in range(3)]
    for writer in writers:
        writer.append([b"x"])
        writer.close()
    assert texts(tmp_path) == [b"x\n"] * 3
    assert {path.parent for path in line_files(tmp_path)} == {tmp_path / FOLDER}


def test_a_sync_reaches_every_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those that were left for the next hour; and the name of a new file is on the disk, too."""
    synced: list[str] = []

    def fsync(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").resolve().name)

    clock = Clock()
    files = Files(tmp_path, host="a", clock=clock)
    monkeypatch.setattr(os, "fsync", fsync)
    files.append([b"1"])
    assert synced == [FOLDER, tmp_path.name]
    clock.now += HOUR
    files.append([b"2"])
    synced.clear()
    files.sync()
    assert synced == [path.name for path in line_files(tmp_path)]
    files.close()


def test_a_full_disk(tmp_path: Path) -> None:
    """The error names the place. What was not synced is appended again, to a new file: no line continues a torn one."""
    files = Files(tmp_path, host="a")
    files.append([b"before"])
    files.sync()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        with pytest.raises(PlaceError, match=rf"{tmp_path}.*File too large"):
            files.append([b"torn line"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    files.append([b"torn line"])
    files.sync()
    assert texts(tmp_path) == [b"before\ntor", b"torn line\n"]
    files.close()


def test_a_failed_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows what is on the disk then: the next sync does not vouch for it."""
    files = Files(tmp_path, host="a")
    files.append([b"1"])

    def fsync(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fsync)
        with pytest.raises(PlaceError, match="Input/output error"):
            files.sync()
    files.append([b"1"])
    files.sync()
    assert texts(tmp_path) == [b"1\n", b"1\n"]
    files.close()


def test_a_place_that_is_not_there(tmp_path: Path) -> None:
    """A missing directory is not made: it may be a volume that is not mounted. It is written to once it is there."""
    files = Files(tmp_path / "volume", host="a")
    with pytest.raises(PlaceError, match=r"volume.*No such file"):
        files.append([b"1"])
    assert not (tmp_path / "volume").exists()
    (tmp_path / "volume").mkdir()
    files.append([b"1"])
    files.sync()
    assert texts(tmp_path / "volume") == [b"1\n"]
    files.close()


def test_a_file_in_its_place(tmp_path: Path) -> None:
    """What is no directory is an error, not a crash."""
    (tmp_path / FOLDER).write_text("")
    with pytest.raises(PlaceError, match=r"File exists|Not a directory"):
        Files(tmp_path).append([b"1"])
    with pytest.raises(PlaceError, match="Not a directory"):
        list(line_files(tmp_path))


def test_only_files_of_lines(tmp_path: Path) -> None:
    """Other names are left alone, and links are not followed."""
    files = Files(tmp_path, host="a")
    files.append([b"1"])
    files.close()
    folder = tmp_path / FOLDER
    (folder / "notes.jsonl").write_text("x")
    (folder / "1970-02-11T16_link_000001.jsonl").symlink_to("/etc/passwd")
    assert texts(tmp_path) == [b"1\n"]
    assert list(line_files(tmp_path / "nowhere")) == []


def test_old_files_are_removed(tmp_path: Path) -> None:
    """By the hour in their names, whoever wrote them; the hour of the limit stays."""
    clock = Clock()
    for hour in range(4):
        clock.now = (1_000 + hour) * HOUR
        files = Files(tmp_path, host="a", clock=clock)
        files.append([b"%d" % hour])
        files.close()
    assert remove_old(tmp_path, 1_002 * HOUR + 60) == 2
    assert texts(tmp_path) == [b"2\n", b"3\n"]
    assert remove_old(tmp_path, 1_002 * HOUR + 60) == 0
