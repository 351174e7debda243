"""The command `judge`: which loops it keeps evidence of, and what it refuses."""

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from app.analysis import judge
from app.commands.cli import run
from app.decision_log.lines import Line, Outcome, milliseconds
from app.experiments import health as healths
from app.experiments.verdict import decode
from app.settings import Settings
from state import keys
from state.loops import health_of
from state.redis.servers import Servers
from tests.unit.app.judging.world import POLICIES, made, moved, written
from tests.unit.state.wire import Wire


@pytest.fixture
def wire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Wire:
    """What the command takes for Redis; POLICIES has the loop of the log."""
    found = Wire()

    @asynccontextmanager
    async def connected(settings: Settings) -> AsyncIterator[Servers]:
        yield found

    monkeypatch.setattr(judge, "connected", connected)
    (tmp_path / "policies.toml").write_text(POLICIES)
    monkeypatch.setenv("POLICIES", str(tmp_path / "policies.toml"))
    return found


@pytest.fixture
def log(tmp_path: Path) -> Path:
    (tmp_path / "lines of push").mkdir()
    return written(tmp_path / "lines of push", made().lines)


async def kept(wire: Wire, field: str) -> bytes | None:
    [[text]] = await wire.ask(("HMGET", keys.EVIDENCE, field))
    found: bytes | None = text
    return found


def test_loops_of_the_log(log: Path, wire: Wire, capsys: pytest.CaptureFixture[str]) -> None:
    """Each that the log has; the evidence is about the champion that served."""
    assert run(["judge", str(log)]) == 0
    assert capsys.readouterr().out == "judged: loop push: 575 matured decisions; champion blind\n"


@pytest.mark.anyio
async def test_what_is_kept(tmp_path: Path, log: Path, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `PUT /loops/{loop}` reads: the evidence, and the health, whose past is continued unless it is damaged."""
    arguments = argparse.ArgumentParser()
    judge.add_judge(arguments)
    asked, settings = arguments.parse_args([str(log), "--loop", "push"]), _settings(tmp_path)
    await wire.ask(("HSET", keys.EVIDENCE, health_of("push"), "{}"))
    monkeypatch.setattr("app.analysis.judge.time.time", lambda: 1_800_000_000)
    assert await judge.judge(asked, settings) == 0
    text = await kept(wire, "push")
    assert text is not None
    found = decode("push", text)
    gate = found.evidence.policies["sighted"].gate
    assert gate is not None
    assert (found.champion, gate.low > 0) == ("blind", True)
    monkeypatch.setattr("app.analysis.judge.time.time", lambda: 1_800_003_600)
    assert await judge.judge(asked, settings) == 0
    text = await kept(wire, health_of("push"))
    assert text is not None
    health = healths.decode("push", text)
    points = health.gates["sighted"]
    assert [point.at for point in points] == ["2027-01-15T08:00:00Z", "2027-01-15T09:00:00Z"]
    assert (points[1].low, points[1].n, points[1].champion) == (gate.low, gate.n, "blind")
    assert (health.problems, health.champion) == ([], "blind")
    assert health.day.matured + health.before.matured == found.evidence.matured
    assert health.day.rewarded + health.before.rewarded == found.evidence.rewarded


def test_problems_are_said(tmp_path: Path, wire: Wire, capsys: pytest.CaptureFixture[str]) -> None:
    """The evidence is kept all the same: it says so itself."""
    (tmp_path / "log").mkdir()
    silent: list[Line] = [line for line in made().lines if not isinstance(line, Outcome)]
    assert run(["judge", str(written(tmp_path / "log", silent))]) == 0
    captured = capsys.readouterr()
    assert captured.out == "judged: loop push: 575 matured decisions; champion blind\n"
    assert "loop push: no decision has found a reward: are they told with the decision's id?\n" in captured.err


def _settings(tmp_path: Path) -> Settings:
    return Settings(policies=str(tmp_path / "policies.toml"))


@pytest.mark.slow
def test_by_sums(tmp_path: Path, wire: Wire, capsys: pytest.CaptureFixture[str]) -> None:
    """Once the log is compacted; before, there are none. By then, all windows are closed."""
    (tmp_path / "log").mkdir()
    newest = 1_795_000_000_000
    # The decisions of the last eight hours, each with its reward.
    lines = [line for line in moved(made().lines, newest) if milliseconds(line.ts) > newest - 8 * 3_600_000]
    log = written(tmp_path / "log", lines)
    assert run(["judge", str(log), "--sums"]) == 0
    assert "has no sums of" in capsys.readouterr().out
    assert run(["log", "compact", str(log)]) == 0
    capsys.readouterr()
    assert run(["judge", str(log), "--sums"]) == 0
    assert capsys.readouterr().out == "judged: loop push: 100 matured decisions; champion blind\n"


@pytest.mark.parametrize(
    ("words", "code", "problem"),
    [
        (["--loop", "none"], 2, "--loop: there is no 'none', there are "),
        (["--loop", "tips"], 1, "has no decisions of tips"),
        ([], 0, "has no decisions of "),
    ],
)
def test_nothing_to_judge(
    tmp_path: Path, wire: Wire, capsys: pytest.CaptureFixture[str], words: list[str], code: int, problem: str
) -> None:
    """It says of what; it is no failure in a log that is as yet empty."""
    (tmp_path / "log").mkdir()
    assert run(["judge", str(tmp_path / "log"), *words]) == code
    captured = capsys.readouterr()
    assert problem in (captured.err if code else captured.out)


def test_no_directory(tmp_path: Path, wire: Wire, capsys: pytest.CaptureFixture[str]) -> None:
    """It is named."""
    assert run(["judge", str(tmp_path / "no")]) == 1
    assert f"{tmp_path / 'no'}: is not a directory" in capsys.readouterr().err
