"""The commands `log …` on a directory: what they print, and their exit codes."""

from pathlib import Path
from typing import Any

import pytest

from app.commands.cli import run
from app.decision_log.files import FOLDER, Files
from app.decision_log.lines import Line, encode
from tests.unit.app.decision_log.samples import BEGIN, decision, outcome


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log of two decisions, of which the first has a reward and a correction."""
    lines: list[Line] = [
        decision(1, explored=True, excluded=[1], score=0.25),
        decision(2, loop="mail"),
        outcome(3),
        outcome(4, n=2, what="corrected", reward=1.0, total=1.0, late=True, part="a"),
    ]
    files = Files(tmp_path, clock=lambda: BEGIN / 1_000)
    files.append(map(encode, lines))
    files.close()
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *words: Any) -> tuple[int, str, str]:
    code = run(["log", *map(str, words)])
    out, err = capsys.readouterr()
    return code, out, err


def test_compact(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says what it did; a broken line is named, and the command fails though it did the rest."""
    code, out, err = said(capsys, "compact", log)
    assert (code, err) == (0, "")
    assert out == "compacted: 4 lines; parts written: 2; sums of 1 hours; left out: 0; files removed: 0\n"
    [path] = (log / FOLDER).iterdir()
    with path.open("ab") as file:
        file.write(b"{}\n")
    code, out, err = said(capsys, "compact", log)
    assert (code, out) == (1, "compacted: 0 lines; parts written: 0; sums of 0 hours; left out: 1; files removed: 0\n")
    assert err.startswith(f"left out: {path}:5: ")


def test_old_lines_go(log: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """When they are in parts and older than a day at least; the log still has them."""
    monkeypatch.setattr("app.analysis.log.time.time", lambda: BEGIN / 1_000 + 3 * 86_400)
    for days, removed in ((7, 0), (3, 0), (0, 1)):
        code, out, _ = said(capsys, "compact", log, "--keep-lines", days)
        assert (code, out.partition("removed: ")[2]) == (0, f"{removed}\n")
    assert said(capsys, "explain", log, "d1.YW5u")[0] == 0


def test_dsjson(log: Path, capfdbinary: Any) -> None:
    """Examples on stdout, of one loop or all; how many there are on stderr."""
    for words, count in (([], 1), (["--loop", "tips"], 1), (["--loop", "mail"], 0)):
        assert run(["log", "dsjson", str(log), *words]) == 0
        out, err = capfdbinary.readouterr()
        assert out.count(b"\n") == count
        assert out.startswith(b'{"_label_cost":-1.0,') == bool(count)
        assert err == b"%d examples\n" % count


def test_explain(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was asked, what each policy would have done, and what became of it."""
    code, out, err = said(capsys, "explain", log, "d1.YW5u")
    assert (code, err) == (0, "")
    for part in (
        "d1.YW5u: line 1 of the user ann, epoch 9f2c",
        "in the loop tips, state 7, by egreedy-v1 as champion",
        'context: {"hour_of_day":9}; user: {}',
        "chosen by exploration, propensity 0.95, score 0.25",
        "columns of the chosen one: 1 1.0, overdue 0.1",
        "2026-11-28T09:00:01.123Z applied: reward 0.5, in all 0.5; taught egreedy-v1",
        "corrected: reward of a 1.0, in all 1.0, late; taught egreedy-v1",
    ):
        assert part in out
    [chosen] = [line for line in out.splitlines() if "→" in line]
    assert [cell.strip() for cell in chosen.strip("│").split("│")] == [
        "→",
        "rent",
        "0.95",
        "0.95",
        "0.99",
        '{"priority":4}',
    ]
    assert "excluded" in out


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["explain", "DIR", "d9.YW5u"], "d9.YW5u: the log has no such decision"),
        (["explain", "DIR", "nonsense"], "nonsense: is not a decision_id"),
        (["compact", "DIR/missing"], "missing: is not a directory"),
        (["dsjson", "DIR/missing"], "missing: is not a directory"),
    ],
)
def test_what_is_not_there(log: Path, capsys: pytest.CaptureFixture[str], words: list[str], why: str) -> None:
    """One line, and the exit code 1."""
    code, out, err = said(capsys, *(word.replace("DIR", str(log)) for word in words))
    assert (code, out) == (1, "")
    assert err.endswith(f"{why}\n")
    assert err.count("\n") == 1


def test_pull_needs_a_server(log: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """NATS_URL is missing, or nobody is there."""
    monkeypatch.delenv("NATS_URL", raising=False)
    assert said(capsys, "pull", log) == (2, "", "NATS_URL: takes the servers whose stream is to be copied\n")
    monkeypatch.setenv("NATS_URL", "nats://127.0.0.1:1")
    assert said(capsys, "pull", log) == (1, "", "NATS cannot be reached: is NATS_URL right?\n")
