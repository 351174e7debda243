"""The command `policies`: what it compares, and what is wrong with a call."""

from pathlib import Path

import pytest

from app.commands.cli import run
from app.commands.policies import changes, unused
from app.policies.catalog import built_in_text, catalog
from tests.unit.app.policies.samples import PUSH

DAY = 86_400
ROWS = '[policies.p]\ncolumns = ["1", "task_age", "priority"]\nexplore = { by = "igw", sharpness = 1 }'
POLICY = catalog(ROWS).policies["p"]
ONE, AGE, PRIORITY = zip(POLICY.labels, POLICY.definitions, strict=True)
OLD, OTHER = ("weekend", "0" * 16), ("priority", "0" * 16)


@pytest.mark.parametrize(
    ("used", "said"),
    [
        ({}, ["Redis knows no models of it"]),
        ({ONE: DAY, AGE: DAY, PRIORITY: DAY}, ["the columns are those that models have"]),
        ({ONE: DAY}, ["added: task_age, priority"]),
        ({ONE: DAY, AGE: DAY, PRIORITY: DAY, OLD: DAY}, ["dropped, kept in models: weekend"]),
        (
            {ONE: 2 * DAY, AGE: DAY, PRIORITY: 2 * DAY, OLD: 2 * DAY},
            ["taken back: task_age", "dropped, kept in models: weekend"],
        ),
        ({ONE: DAY, AGE: DAY, OTHER: DAY}, ["changed, learned anew: priority", "dropped, kept in models: priority"]),
    ],
)
def test_changes(used: dict[tuple[str, str], int], said: list[str]) -> None:
    """By name and definition."""
    assert changes(POLICY, used, known=True) == said
    assert changes(POLICY, used, known=False) == ["Redis knows no models of it"]


def test_unused() -> None:
    """What the file does not have and no replica had since then."""
    used = {ONE: DAY, OLD: DAY, OTHER: 3 * DAY}
    assert unused(POLICY, used, 2 * DAY) == [OLD]
    assert unused(POLICY, used, 4 * DAY) == [OLD, OTHER]
    assert unused(POLICY, used, DAY) == []


def test_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """It need not be the one that POLICIES names; a loop is shown with its policies alone; without Redis nothing is
    compared."""
    path = tmp_path / "policies.toml"
    path.write_text(PUSH)
    monkeypatch.setenv("REDIS_URL", "memory://")
    monkeypatch.setenv("POLICIES", "/nowhere")
    assert run(["policies", "--policies", str(path)]) == 0
    out, err = capsys.readouterr()
    assert [name for name in ("linucb-v1", "push", "tips-v3") if f"\n{name}  " not in f"\n{out}"] == []
    assert "→" not in out
    assert err == ""
    assert run(["policies", "--policies", str(path), "--loop", "push"]) == 0
    out, _ = capsys.readouterr()
    assert "\ntips-v3  " in out
    assert "linucb-v1  " not in out
    assert "no policy uses it" not in out
    assert run(["policies", "--built-in"]) == 0
    assert capsys.readouterr().out == built_in_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "POLICIES: /nowhere: No such file or directory\n"),
        (["--policies", "/"], "POLICIES: /: Is a directory\n"),
        (["--policies", "{path}"], "POLICIES: {path}: is not TOML: "),
        (["--policies", "{good}", "--loop", "x"], "--loop: there is no loop 'x'; there are tips, personalizer, push\n"),
    ],
)
def test_what_is_wrong_is_one_line(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the exit code of other wrong settings."""
    names = {"path": str(tmp_path / "bad.toml"), "good": str(tmp_path / "good.toml")}
    Path(names["path"]).write_text("[")
    Path(names["good"]).write_text(PUSH)
    monkeypatch.setenv("POLICIES", "/nowhere")
    assert run(["policies", *(word.format(**names) for word in words)]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(said.format(**names))
