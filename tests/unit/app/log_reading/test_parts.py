"""Parts: their columns are those of the lines, and nothing of a line is lost."""

import sys
from pathlib import Path

import pytest

from app.decision_log.lines import Line, encode
from app.log_reading.parts import KINDS, MissingExtra, columns, engine, folder_of, staged
from app.log_reading.parts import text as quoted
from tests.unit.app.decision_log.samples import decision, outcome, state


def rows(path: Path, kind: str, *lines: Line) -> list[dict[str, object]]:
    """What the columns of these lines hold."""
    path.write_bytes(b"".join(encode(line) + b"\n" for line in lines))
    with engine() as base:
        found = base.execute(staged(kind, path)).fetchall()
    return [dict(zip(columns(kind), row, strict=True)) for row in found]


def test_a_decision(tmp_path: Path) -> None:
    """What reports use, typed; lists of lists stand beside the names of whose they are."""
    line = decision(excluded=[1], explored=True, score=0.1, canary="b", share=0.1)
    [row] = rows(tmp_path / "it's", "decisions", line)
    assert row["ts"].isoformat() == "2026-11-28T09:00:00.123000"  # type: ignore[attr-defined]
    assert row["candidates"] == ["rent", "walk"]
    assert (row["candidate"], row["chosen"], row["propensity"]) == ("rent", 0, 0.95)
    assert row["policies"] == ["egreedy-v1", "tips-v3"]
    assert row["by_policy"] == [[0.95, 0.05], [0.99, 0.01]]
    assert (row["versioned"], row["versions"]) == (["egreedy-v1"], ["1f3c"])
    assert (row["champion"], row["canary"], row["share"], row["excluded"]) == ("egreedy-v1", "b", 0.1, [1])
    assert row["context"] == '{"hour_of_day":9}'
    assert row["line"] == encode(line).decode()


def test_what_is_left_out_has_its_default(tmp_path: Path) -> None:
    """A report need not know which fields a line leaves out."""
    [row] = rows(tmp_path / "lines", "decisions", decision())
    assert (row["explored"], row["share"], row["excluded"], row["canary"]) == (False, 0.0, [], None)
    [row] = rows(tmp_path / "lines", "outcomes", outcome(reward=None))
    assert (row["part"], row["reward"], row["total"], row["learned"]) == ("", None, 0.5, ["egreedy-v1"])
    [row] = rows(tmp_path / "lines", "states", state())
    assert (row["what"], row["reward"], row["user"]) == ("reset", None, "ann")


def test_folders() -> None:
    """The layout of Hive, which engines read as the columns date and hour."""
    assert folder_of("decisions", decision().ts) == "decisions/date=2026-11-28/hour=09"
    assert set(KINDS) == {"decisions", "outcomes", "states"}
    assert quoted("it's") == "'it''s'"


def test_without_duckdb(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says how to get it."""
    monkeypatch.setitem(sys.modules, "duckdb", None)
    monkeypatch.setattr("app.log_reading.parts.find_spec", lambda _: None)
    with pytest.raises(MissingExtra, match=r"pip install '.\[log\]'"):
        engine()
