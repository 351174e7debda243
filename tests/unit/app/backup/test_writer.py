"""A backup file is there whole or not at all, and only its owner can read it."""

import errno
import gzip
import os
import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.backup import reader, writer
from app.backup.writer import Writer
from state import keys, parts
from state.users import Found
from state.values.stored import Stored
from tests.unit.app.commands.samples import COLUMNS, HISTORY, MARKER, REWARDED, broken_model, decided, decisions, model


def written(path: Path, *users: Found) -> tuple[list[Any], list[str]]:
    """The lines of a backup of these users, and what was left out."""
    left_out: list[str] = []
    with Writer(path) as writer:
        writer.begin()
        for user in users:
            left_out += writer.write(user)
        size = writer.finish()
    assert size == path.stat().st_size
    return [msgspec.json.decode(line) for line in gzip.decompress(path.read_bytes()).splitlines()], left_out


def test_a_user_is_a_line(tmp_path: Path) -> None:
    """The first line says what the file is, each user is one, and the last line counts them."""
    lines, left_out = written(tmp_path / "f", Found("ann", [model("ann"), HISTORY], []))
    assert left_out == []
    assert (lines[0]["format"], lines[0]["version"]) == ("oo-serving state", 4)
    assert [key["kind"] for key in lines[1]["keys"]] == ["linucb-v1", "history"]
    assert lines[2] == {"keys": {"history": 1, "linucb-v1": 1}, "users": 1}


def test_only_its_owner_reads_it(tmp_path: Path) -> None:
    """The file is new and private, whatever was called `.part` before."""
    (tmp_path / "other").write_text("another's")
    (tmp_path / "f.part").symlink_to(tmp_path / "other")
    written(tmp_path / "f")
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o600
    assert (tmp_path / "other").read_text() == "another's"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f", "other"]


def test_the_idempotency_keys_of_a_lost_model_are_lost(tmp_path: Path) -> None:
    """They would have the rewards ignored that the model lacks; those of other models stay."""
    other = Stored("ann", "egreedy-v1:once:k", MARKER.value, MARKER.expires_ms)
    lines, left_out = written(tmp_path / "f", Found("ann", [broken_model("ann"), MARKER, other], []))
    assert [line.split(": ")[0] for line in left_out] == [keys.record("ann", "linucb-v1"), keys.of("ann", MARKER.kind)]
    assert [key["kind"] for key in lines[1]["keys"]] == ["egreedy-v1:once:k"]


def test_decisions_are_whole_or_left_out(tmp_path: Path) -> None:
    """Their three keys go together: none is written when one cannot be, or when they tell of different decisions."""
    whole = decisions(one=decided(), two=REWARDED)
    lines, left_out = written(tmp_path / "f", Found("ann", [HISTORY, *whole], []))
    assert left_out == []
    assert [key["kind"] for key in lines[1]["keys"]] == ["history", "u", "d", "t"]
    assert lines[1]["keys"][2]["decisions"]["two"]["reward"] == 1.0
    assert lines[1]["keys"][3]["scores"] == {"one": 1_795_524_444_123, "two": 1_795_524_444_123}
    damaged = Stored("ann", keys.DECISIONS, {b"one": b"x"})
    for found, words in (
        (Found("ann", [HISTORY, whole[0], whole[2]], [keys.decisions("ann")]), "never writes"),
        (Found("ann", [HISTORY, whole[0], damaged, whole[2]], []), "is not a decision"),
        (Found("ann", [HISTORY, *decisions(one=decided())[:2], whole[2]], []), "does not have just the decisions"),
    ):
        lines, left_out = written(tmp_path / "f", found)
        assert words in left_out[0]
        assert "with all that is about decisions" in left_out[-1]
        assert [key["kind"] for key in lines[1]["keys"]] == ["history"]


def test_a_large_user_has_several_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each as long as it may be; they are read as one user again."""
    made = {f"one{number}".encode(): decided(born=number) for number in range(40)}
    shared, records, agenda = decisions(**{name.decode(): one for name, one in made.items()})
    assert isinstance(records.value, dict)
    spread: dict[str, dict[bytes, bytes]] = {}
    for name, blob in records.value.items():
        spread.setdefault(parts.of(keys.DECISIONS, name), {})[name] = blob
    shared = msgspec.structs.replace(shared, value={**shared.value, parts.FIELD: b"256"})  # type: ignore[dict-item]
    whole = [HISTORY, shared, agenda, *(Stored("ann", kind, value) for kind, value in spread.items())]
    monkeypatch.setattr(writer, "LONGEST_LINE", 6_000)
    lines, left_out = written(tmp_path / "f", Found("ann", whole, []), Found("bea", [model("bea")], []))
    assert left_out == []
    assert [line.get("more", False) for line in lines[1:-1]] == [True] * (len(lines) - 4) + [False, False]
    assert lines[-1] == {"keys": {"d": len(spread), "history": 1, "linucb-v1": 1, "t": 1, "u": 1}, "users": 2}
    assert max(map(len, gzip.decompress((tmp_path / "f").read_bytes()).splitlines())) <= 6_000
    with (tmp_path / "f").open("rb") as file:
        ann, bea = reader.read(file)
    assert (ann.problem, bea.problem) == (None, None)
    assert ann.stored == whole
    monkeypatch.setattr(writer, "MOST_LINES", 2)
    _, left_out = written(tmp_path / "f", Found("ann", whole, []))
    assert "left out: would be" in left_out[0]
    monkeypatch.setattr(reader, "MOST_LINES", 2)
    monkeypatch.setattr(writer, "MOST_LINES", 99)
    written(tmp_path / "f", Found("ann", whole, []))
    with (tmp_path / "f").open("rb") as file, pytest.raises(reader.BadBackup, match="more than the 2 of one user"):
        list(reader.read(file))


def test_columns_of_decisions_are_in_the_line(tmp_path: Path) -> None:
    """Another Redis can correct what was learned with them."""
    with Writer(tmp_path / "f") as writer:
        writer.begin()
        writer.columns = {COLUMNS.fingerprint: COLUMNS}
        writer.write(Found("ann", decisions(two=REWARDED), []))
        writer.finish()
    line = gzip.decompress((tmp_path / "f").read_bytes()).splitlines()[1]
    [_, made, _] = msgspec.json.decode(line)["keys"]
    assert list(made["columns"]) == [COLUMNS.fingerprint.decode()]


@pytest.mark.parametrize("step", ["open", "fdopen"])
def test_a_signal_just_after_the_file_was_created_leaves_nothing(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal may raise KeyboardInterrupt between any two instructions, so also before any variable holds the file."""
    act = getattr(os, step)

    def interrupted(*arguments: Any) -> Any:
        file = act(*arguments)
        os.close(file) if step == "open" else file.close()
        assert (tmp_path / "f.part").exists()
        raise KeyboardInterrupt

    monkeypatch.setattr(os, step, interrupted)
    (tmp_path / "f").write_text("the last one")
    with pytest.raises(KeyboardInterrupt), Writer(tmp_path / "f") as writer:
        writer.begin()
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
    assert (tmp_path / "f").read_text() == "the last one"


def test_what_another_export_writes_stays_until_this_one_begins(tmp_path: Path) -> None:
    """A writer that did not begin removes nothing."""
    (tmp_path / "f.part").write_text("another's")
    with Writer(tmp_path / "f"):
        pass
    assert (tmp_path / "f.part").exists()


def test_a_failure_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message of a full disk has the name that the operator gave, and nothing is left."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with Writer(tmp_path / "f") as writer:
        writer.begin()
        with pytest.raises(OSError, match="No space left") as failed:
            writer.finish()
    assert failed.value.filename == str(tmp_path / "f")
    assert list(tmp_path.iterdir()) == []
