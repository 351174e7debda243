"""The command `evaluate`: what it prints, what it refuses, and its exit codes."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from app.analysis.evaluate import moment_of
from app.commands.cli import run
from app.decision_log.lines import Candidate, Line
from app.report import plots
from tests.unit.app.decision_log.samples import BEGIN, decision, outcome, state
from tests.unit.app.judging.world import POLICIES, made, written

# Two policies, whose columns do not matter here.
LOOP: Final = """
[features]
size = {{ of = "candidate", kind = "number", min = 0, max = 1 }}
[policies.c]
columns = ["1", "size"]
explore = {{ by = "epsilon", epsilon = 0.5 }}
[policies.e]
columns = ["1"]
explore = {{ by = "epsilon", epsilon = 0.5 }}
[loops.push]
champion = "c"
shadows = ["e"]
{more}
"""
USERS: Final = 25
EVEN: Final = (0.25, 0.25, 0.25, 0.25)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, for a log; POLICIES names push.toml in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POLICIES", "push.toml")
    Path("push.toml").write_text(LOOP.format(more="missing = 0.0"))
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *words: Any) -> tuple[int, str, str]:
    try:
        code = run(["evaluate", *map(str, words)])
    except SystemExit as stopped:  # a wrong call
        code = int(stopped.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


def log(
    h: Sequence[float],
    e: Sequence[float],
    *,
    n: int = 400,
    drawn: Sequence[float] | None = None,
    sees: bool = False,
    answered: Sequence[float] = (1.0, 1.0, 1.0, 1.0),
    later: int = 100 * 86_400_000,
) -> list[Line]:
    """Decisions drawn from `h`, or really from `drawn`, beside a challenger with `e`, which `sees` what was chosen.

    Of those that chose a candidate this share is `answered`. The last line comes this much `later` (ms).
    """
    chance, lines = np.random.default_rng(1), list[Line]()
    for number in range(n):
        chosen = int(chance.choice(4, p=drawn or h))
        shares = np.roll(e, chosen - int(np.argmax(e))).tolist() if sees else list(e)
        user, seq = f"u{number % USERS}", 2 * (number // USERS) + 1
        ms = BEGIN + 60_000 * number
        lines.append(
            decision(
                seq,
                user,
                ms,
                loop="push",
                policy="c",
                candidates=[Candidate(name, {}) for name in "abcd"],
                propensities=list(h),
                by_policy={"c": list(h), "e": shares},
                chosen=chosen,
                propensity=h[chosen],
            )
        )
        if chance.random() < answered[chosen]:
            reward = float(chance.choice([-1.0, 1.0]))
            lines.append(outcome(seq + 1, user, ms + 5, born=seq, loop="push", reward=reward, total=reward))
    return [*lines, state(1, "later", BEGIN + later)]


def refused(found: str) -> dict[str, list[str]]:
    """The rules by which policies are refused."""
    return {name: [each["rule"] for each in one["refused"]] for name, one in json.loads(found)["policies"].items()}


@pytest.mark.parametrize(
    ("lines", "rules", "code"),
    [
        (partial(log, EVEN, (0.7, 0.1, 0.1, 0.1)), [], 0),
        (partial(log, (0.5, 0.5, 0.0, 0.0), (0.4, 0.4, 0.2, 0.0)), ["support"], 0),
        (partial(log, (0.4, 0.4, 0.1, 0.1), (0.0, 0.0, 1.0, 0.0)), ["effective size", "dominance"], 0),
        (partial(log, (0.6, 0.2, 0.1, 0.1), (0.85, 0.05, 0.05, 0.05), sees=True), ["mean weight"], 0),
        (partial(log, (0.7, 0.1, 0.1, 0.1), EVEN, drawn=(0.4, 0.2, 0.2, 0.2)), ["draws"], 3),
        (partial(log, (0.25, 0.25, 0.25, 0.2), EVEN, drawn=EVEN), ["propensities", "nothing"], 3),
        (partial(log, EVEN, (0.7, 0.1, 0.1, 0.1), later=10), ["nothing"], 3),
    ],
    ids=["sound", "support", "effective size", "mean weight", "draws", "propensities", "open"],
)
def test_refusals(
    folder: Path, capsys: pytest.CaptureFixture[str], lines: Callable[[], list[Line]], rules: list[str], code: int
) -> None:
    """A log that deserves it is refused, the challenger alone or all that is in it; the command fails if all is."""
    written(folder, lines())
    found, out, err = said(capsys, ".", "--json")
    assert (found, err) == (code, "")
    told = refused(out)
    assert [rule for rule in told["e"] if rule in rules] == rules
    assert bool(told["c"]) == (code == 3)
    found, out, _ = said(capsys, ".")
    assert found == code
    for rule in rules:
        assert f"e: refused ({rule}): " in out
    assert out.count("What would help: ") == sum(map(len, told.values())) + out.count("uniform: refused") + out.count(
        "first: refused"
    )


def test_silence_that_depends_on_the_choice(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is refused where silence does not count; where the loop says what it counts as, nothing is missing."""
    written(folder, log(EVEN, (0.7, 0.1, 0.1, 0.1), answered=(0.9, 0.3, 0.3, 0.3)))
    for more, code in (("missing = 0.0", 0), ("", 3)):
        Path("push.toml").write_text(LOOP.format(more=more))
        found, out, _ = said(capsys, ".", "--json")
        assert (found, "missing outcomes" in refused(out)["e"]) == (code, bool(code))


def test_text(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """How much there was and from when; a table; a verdict on each challenger."""
    Path("push.toml").write_text(POLICIES)
    written(folder, made().lines)
    code, out, err = said(capsys, ".", "--policy", "push.toml:greedy", "--policy", ":shared")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith(
        "600 decisions of the loop push from 2027-01-15 10:00 to 2027-01-17 08:00, as of 2027-01-17 08:00 UTC, of "
        "which 575 are matured and were shown, 575 of these rewarded."
    )
    rows = [line.split()[0] for line in lines if "±" in line]
    assert rows == ["what", "blind", "sighted", "greedy", "shared", "uniform", "first"]
    assert "sighted: better than blind: it earns at least 0." in out
    assert "greedy: It was run over the log afterwards" in out


def test_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Everything, in units of reward."""
    Path("push.toml").write_text(POLICIES)
    written(folder, made().lines)
    code, out, _ = said(capsys, ".", "--json", "--loop", "push", "--as-of", "2027-01-17T09:01+01:00")
    found = json.loads(out)
    assert code == 0
    assert [found[key] for key in ("loop", "champion", "decisions", "matured", "rewarded", "as_of")] == [
        "push",
        "blind",
        600,
        575,
        575,
        "2027-01-17T08:01:00.000Z",
    ]
    assert set(found["logging"]) == {"mean", "low", "high"}
    sighted = found["policies"]["sighted"]
    for key in ("snips", "ips", "dr"):
        assert set(sighted[key]) == {"estimate", "low", "high"}
    assert {"ess", "max_weight_share", "mean_weight_z", "draws_p", "refused", "warnings"} <= set(sighted)
    assert {"low", "high", "log_e_value", "n"} <= set(sighted["gate"])
    assert found["policies"]["blind"]["gate"] is None


@pytest.mark.slow
def test_page(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """One file that loads nothing; without what draws plots, nothing is begun."""
    written(folder, log(EVEN, (0.7, 0.1, 0.1, 0.1)))
    assert said(capsys, ".", "--html", "report.html", "--as-of", "2026-12-01")[0] == 0
    text = Path("report.html").read_text()
    assert "400 decisions of the loop push from 2026-11-28 09:00 to " in text
    assert "<script" not in text
    assert "src=" not in text
    assert "windows closed" in text
    monkeypatch.setattr(plots, "find_spec", lambda _: None)
    code, out, err = said(capsys, "missing", "--html", "report.html")
    assert (code, out) == (2, "")
    assert err.startswith("--html: plots need vl-convert-python")


def test_a_loop_that_the_file_lacks(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its rewards are taken to be the usual ones, and it is said."""
    written(folder, log(EVEN, (0.7, 0.1, 0.1, 0.1)))
    Path("push.toml").write_text("")
    code, _, err = said(capsys, ".")
    assert code == 0
    assert err == "loop push: POLICIES does not have it; rewards count as -1 to 1, and silence not at all\n"


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (["missing"], 1, "missing: is not a directory"),
        (["empty"], 3, "empty: has no decisions"),
        ([".", "--loop", "nope"], 2, "--loop nope: the log has no decision of this loop; it has push"),
        ([".", "--as-of", "noon"], 2, "takes now, or a time such as 2026-11-28 or 2026-11-28T09:00:00Z, not 'noon'"),
        ([".", "--as-of", "0001-01-01"], 2, "takes now, or a time such as"),
        ([".", "--as-of", "2020-01-01"], 3, ".: has no decisions"),
        ([".", "--policy", "e"], 2, "--policy: takes FILE:NAME, such as policies.toml:push-v2, not 'e'"),
        ([".", "--policy", ":x"], 2, "--policy :x: there is no policy 'x'; there are "),
        ([".", "--policy", ":e", "--policy", "push.toml:e"], 2, "--policy push.toml:e: there is a policy 'e' already"),
        ([".", "--policy", "no.toml:e"], 2, "--policy: no.toml: No such file or directory"),
    ],
)
def test_errors(folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int, why: str) -> None:
    """One line says what is wrong, and the exit code whose fault it is."""
    written(folder, log(EVEN, EVEN, n=5))
    Path("empty").mkdir()
    found, out, err = said(capsys, *words)
    assert (found, out) == (code, "")
    assert why in err
    assert err.count("\n") == 1


def test_rewards_that_cannot_be(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(folder, log(EVEN, EVEN, n=50))
    Path("push.toml").write_text(LOOP.format(more="reward = { min = 0, max = 1 }"))
    code, _, err = said(capsys, ".")
    assert code == 2
    assert err.startswith("loop push: reward: takes 0 to 1; ")
    assert err.endswith(": POLICIES says what the rewards of a loop are\n")


def test_bad_lines(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What can be read is judged, what cannot be is named, once, and the command fails."""
    written(folder, log(EVEN, (0.7, 0.1, 0.1, 0.1)))
    [path] = (folder / "lines").iterdir()
    with path.open("ab") as file:
        file.write(b"{}\n")
    code, out, err = said(capsys, ".", "--policy", ":c")
    assert (code, err.count("left out: "), err.count("\n")) == (1, 1, 1)
    assert "c (new)" in out


def test_moments() -> None:
    """A time without a zone is UTC."""
    assert moment_of("2026-11-28") == moment_of("2026-11-28T01:00+01:00") == moment_of("2026-11-28T00:00:00Z")
    assert moment_of("2026-11-28T09:00:00.123Z") == BEGIN
    assert moment_of("now") > BEGIN
