"""The command `simulate`: a table on the terminal, a report, a policy file to begin with, and errors of one line."""

import io
import random
from pathlib import Path

import pytest
from rich.console import Console

from app.analysis.simulate import picture
from app.commands.cli import run
from app.report import plots
from app.report.page import Grid

# Which of two mails is answered depends on the hour, and the kind of the customer turns it round.
OWN = """
[features]
arm   = { of = "candidate", field = "id", kind = "category", values = ["long", "short"] }
when  = { of = "context", field = "hour", kind = "number", min = 0, max = 23 }
kind  = { of = "candidate", kind = "category", values = ["home", "work"] }
[policies.crossed]
cross = [["arm"], ["1", "when"], ["1", "kind"]]
explore = { by = "linucb", alpha = 0.2, floor = 0.02 }
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with mails.csv and own.toml, which is the current one."""
    monkeypatch.chdir(tmp_path)
    draw = random.Random(1)
    rows = [(draw.randrange(24), draw.choice(["home", "work"])) for _ in range(600)]
    lines = [f"{hour},{kind},{'long' if (hour > 12) == (kind == 'home') else 'short'}" for hour, kind in rows]
    Path("mails.csv").write_text("\n".join(["hour,kind,answered", *lines]) + "\n")
    Path("own.toml").write_text(OWN)
    return tmp_path


def names(out: str) -> list[str]:
    """The first word of each row of figures."""
    return [line.split()[0] for line in out.splitlines() if "±" in line and "standard error" not in line]


def test_tips(capsys: pytest.CaptureFixture[str]) -> None:
    """The policies that are named, in the world of owners; the numbers are the same each time."""
    words = ["simulate", "--decisions", "20", "--users", "1", "--seeds", "2"]
    outs = []
    for _ in range(2):
        assert run([*words, "--policy", "tips-v3", "--policy", "linucb-v1"]) == 0
        outs.append(capsys.readouterr().out)
    assert outs[0] == outs[1]
    assert outs[0].startswith("simulated owners of tasks: 1 user, 20 decisions each\n")
    assert set(names(outs[0])) == {"tips-v3", "linucb-v1", "a", "the"}


@pytest.mark.slow
def test_a_better_policy_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A policy of one's own file is compared with those that are made from the table, on the same rows, and wins."""
    words = ["simulate", "--on", "mails.csv", "--policies", "own.toml", "--seeds", "2"]
    assert run([*words, "--out", "report.html"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith("mails.csv: 600 rows, 2 values of 'answered', 600 decisions\n")
    assert names(out)[0] == "crossed"
    assert set(names(out)[1:3]) == {"start-linucb", "start-egreedy"}
    share = float(next(line for line in out.splitlines() if "crossed" in line).split("±")[2].split()[1])
    assert share > 0.7
    page = (folder / "report.html").read_text()
    assert "mails.csv: 600 rows" in page.replace("Mails", "mails")
    assert page.count("<svg") == 8


def test_the_file_to_begin_with(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What --print-policies prints is what is compared without --policies, and can be read back."""
    assert run(["simulate", "--on", "mails.csv", "--print-policies"]) == 0
    text = capsys.readouterr().out
    (folder / "begun.toml").write_text(text.replace("start-", "my-"))
    words = ["simulate", "--on", "mails.csv", "--policies", "begun.toml", "--decisions", "50", "--seeds", "1"]
    assert run([*words, "--policy", "my-linucb", "--policy", "start-linucb"]) == 0
    rows = [line.split()[1:] for line in capsys.readouterr().out.splitlines() if "-linucb" in line]
    assert rows[0][:6] == rows[1][:6]


def test_the_policy_file_of_the_service(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without --policies it is the one that POLICIES names, and so is the one to blame."""
    monkeypatch.setenv("POLICIES", "own.toml")
    assert run(["simulate", "--on", "mails.csv", "--policy", "crossed", "--decisions", "20"]) == 0
    assert names(capsys.readouterr().out)[0] == "crossed"
    monkeypatch.setenv("POLICIES", "mails.csv")
    assert run(["simulate"]) == 2
    assert capsys.readouterr().err.startswith("POLICIES: mails.csv: is not TOML: ")


@pytest.mark.parametrize(
    ("words", "code", "problem"),
    [
        (["--policy", "x"], 2, "--policy: there is no policy 'x' here; there are linucb-v1, egreedy-v1, "),
        (
            ["--on", "mails.csv", "--policy", "tips-v3"],
            2,
            "--policy: there is no policy 'tips-v3' here; there are start-",
        ),
        (
            ["--on", "mails.csv", "--label", "x"],
            2,
            "--on mails.csv: has no column 'x'; its columns are hour, kind, answered",
        ),
        (["--on", "own.toml"], 2, "--on own.toml: has 0 columns; "),
        (["--on", "gone.csv"], 1, "gone.csv: No such file or directory"),
        (["--on", "."], 1, ".: Is a directory"),
        (["--policies", "gone.toml"], 1, "gone.toml: No such file or directory"),
        (["--policies", "mails.csv"], 2, "--policies mails.csv: is not TOML: "),
        (["--policies", "bytes"], 2, "--policies bytes: is not UTF-8"),
        (["--policies", "clash.toml"], 2, "--policies clash.toml: [features] hour: "),
        (
            ["--on", "mails.csv", "--policies", "other.toml"],
            2,
            "policy crossed, feature when: the table has no column 'our'; ",
        ),
        (
            ["--on", "wide.csv"],
            2,
            "--on wide.csv: [policies] start-linucb: cross: makes more than 256 columns in all; ",
        ),
        (["--label", "hour"], 2, "--label: only a table has columns; "),
        (["--on", "mails.csv", "--users", "2"], 2, "--users: a table has one user, "),
        (["--print-policies"], 2, "--print-policies: prints a file for a table; "),
        (["--decisions", "0"], 2, "argument --decisions: takes a whole number from 1 to 1,000,000, not '0'"),
        (["--seeds", "1e3"], 2, "argument --seeds: takes a whole number from 1 to 1,000, not '1e3'"),
        (["--out", "."], 2, "argument --out: '.' is not the name of a file"),
    ],
)
def test_errors_are_one_line(
    words: list[str], code: int, problem: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each names what is wrong; nothing is simulated."""
    (folder / "bytes").write_bytes(b"\xff\xfe")
    (folder / "clash.toml").write_text('[features]\nhour = { of = "context", kind = "flag" }\n')
    (folder / "other.toml").write_text(OWN.replace('"hour"', '"our"'))
    header = ",".join(f"c{number}" for number in range(201))
    (folder / "wide.csv").write_text(f"{header},label\n{'1,' * 201}a\n{'2,' * 201}b\n")
    try:
        found = run(["simulate", *words])
    except SystemExit as stopped:
        found = stopped.code if isinstance(stopped.code, int) else -1
    out, err = capsys.readouterr()
    assert (found, out, err.count("\n")) == (code, "", 1)
    assert err.removeprefix("python -m app simulate: ").startswith(problem)


def test_without_the_extra(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """--out says how to install it, before anything is simulated; without --out it is not needed."""
    monkeypatch.setattr(plots, "find_spec", lambda _: None)
    assert run(["simulate", "--on", "mails.csv", "--out", "report.html"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("--out: plots need vl-convert-python, ")
    assert not (folder / "report.html").exists()
    assert run(["simulate", "--on", "mails.csv", "--decisions", "5", "--seeds", "1"]) == 0


def test_the_picture() -> None:
    """Cells of a file do nothing to the terminal, nor do brackets mean a style."""
    screen = io.StringIO()
    grid = Grid(["policy", "share"], [["[red]a\x1b", "1"], ["b", "0"]], "notes", frozenset({1}))
    Console(width=80, file=screen).print(picture(grid, "mails\x1b[2J"))
    text = screen.getvalue()
    assert "\x1b" not in text
    assert "[red]a\\x1b" in text
    assert text.startswith("mails\\x1b[2J\n")
    assert text.endswith("notes\n")
