"""The command line: its help stands alone, and whatever is wrong is one line with an exit code."""

import os
from pathlib import Path

import pytest

from app import __version__
from app.commands.cli import run
from app.settings import Settings
from tests.support.parsers import PARSERS


def said(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as stopped:
        run(words)
    return stopped.value.code, *capsys.readouterr()


@pytest.mark.parametrize("command", PARSERS)
def test_help_stands_alone(command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every argument is described; the exit codes and an example are there. What it says of variables is held in
    tests/service/test_command_help.py."""
    monkeypatch.setenv("COLUMNS", "200")
    code, out, _ = said([*command.split(), "--help"], capsys)
    assert code == 0
    assert out.startswith(f"usage: python -m app {command} ")
    assert [action.dest for action in PARSERS[command]._actions if not action.help] == []
    assert f"\nexample:\n  python -m app {command}" in out
    assert "\nexit codes:\n" in out


def test_an_example_is_a_call() -> None:
    """What a help shows can be called as it is shown."""
    for command, parser in PARSERS.items():
        example = f"{parser.epilog}".partition("python -m app ")[2].partition(" > ")[0].split()
        parser.parse_args(example[len(command.split()) :])


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """With a line for each; and every setting of the service with its default."""
    out = said(["--help"], capsys)[1]
    assert [name for name in PARSERS if f"\n    {name.split()[0]} " not in out] == []
    assert "\n  PORT (8000)\n      port to listen on\n" in out
    assert [name for name in Settings.__struct_fields__ if f"\n  {name.upper()} (" not in out] == []
    assert max(map(len, out.splitlines())) <= 120
    for group in ("events", "log"):
        out = said([group, "--help"], capsys)[1]
        inner = [name.removeprefix(f"{group} ") for name in PARSERS if name.startswith(f"{group} ")]
        assert inner
        assert [name for name in inner if f"\n    {name} " not in out] == []


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """--version is the service's."""
    assert said(["--version"], capsys)[:2] == (0, f"{__version__}\n")


@pytest.mark.parametrize(
    "words",
    [
        ["imp"],
        ["events"],
        ["events", "replay", "--limit", "0"],
        ["export"],
        ["show", ""],
        ["show", "x" * 257],
        ["show", "\udcff"],
        ["policies", "--older-than", "-1"],
    ],
)
def test_wrong_calls_are_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown command, or one that lacks something, is refused with exit code 2."""
    code, _, err = said(words, capsys)
    assert (code, err.count("\n")) == (2, 1)


@pytest.mark.parametrize("name", ["", ".", "folder", "pipe", "null"])
def test_export_replaces_files_only(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder, a pipe, a device or no name at all is refused with one line, before anything is read."""
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    os.mkfifo("pipe")
    Path("null").symlink_to("/dev/null")
    code, _, err = said(["export", name], capsys)
    assert code == 2
    assert err.startswith(f"python -m app export: argument FILE: {name!r} is ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "null", "pipe"]


@pytest.mark.parametrize(
    "words",
    [
        ["export", "f"],
        ["restore", "f"],
        ["import", "."],
        ["show", "ann"],
        ["erase", "ann", "--yes"],
        ["policies", "--prune"],
    ],
)
def test_embedded_store_is_out_of_reach(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """State of memory:// is in another process: that is said, in one line."""
    monkeypatch.setenv("REDIS_URL", "memory://")
    assert run(words) == 2
    expected = "REDIS_URL is memory://: that state is inside the process that serves, out of reach; name a Redis\n"
    assert capsys.readouterr() == ("", expected)


def test_a_missing_file_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file is named as the operator named it, after the Redis that the command works on, without a password."""
    monkeypatch.setenv("REDIS_URL", "redis://:hidden@127.0.0.1:1")
    gone = tmp_path / "gone"
    assert run(["restore", str(gone)]) == 1
    assert (
        capsys.readouterr().err == f"Redis: one server at 127.0.0.1:1, database 0\n{gone}: No such file or directory\n"
    )
