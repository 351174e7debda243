"""A log read for one loop: its decisions, and new policies run over them."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.decision_log.lines import Line, Outcome, milliseconds
from app.decision_log.place import PlaceError
from app.evaluation.evidence import Evidence, evidence
from app.judging.collect import BadRewards, Collected, NoSuchLoop, collect
from app.log_reading.compact import compact
from app.policies.catalog import Catalog, catalog
from tests.unit.app.decision_log.samples import BEGIN, decision, outcome, state
from tests.unit.app.judging.world import POLICIES, SIGHTED, made, written

CATALOG = catalog(POLICIES)
# The odds of an error are 1e-9.
Z = 6.1


def collected(directory: Path, own: Catalog = CATALOG, **more: Any) -> Collected:
    asked: dict[str, Any] = {"loop": None, "as_of": None, "new": {}, "advance": lambda: None}
    found = collect(directory, pytest.fail, own, **(asked | more))
    assert found is not None
    return found


def judged(directory: Path) -> Evidence:
    found = collected(directory)
    return evidence(found.logged, found.loop)


def test_estimates_are_true(tmp_path: Path) -> None:
    """On what the use-cases logged, each estimate is near the truth, and the gate sees that the better policy is."""
    world = made()
    found = judged(written(tmp_path, world.lines))
    assert (found.loop, found.champion, found.decisions, found.clustered_by) == ("push", "blind", 600, "users")
    assert found.matured == found.rewarded == 575
    for name, truth in world.truth.items():
        each = found.policies[name]
        assert each.refused == []
        for estimate in (each.snips, each.ips, each.dr):
            assert estimate is not None
            assert estimate.low is not None
            assert abs(estimate.estimate - truth) < Z * (estimate.estimate - estimate.low) / 1.96
    gate = found.policies[SIGHTED].gate
    assert gate is not None
    assert 0.0 < gate.low < world.truth[SIGHTED] - world.truth["blind"] < gate.high
    exact, doubly = found.policies[SIGHTED].ips, found.policies[SIGHTED].dr
    assert exact is not None
    assert exact.high is not None
    assert doubly is not None
    assert doubly.high is not None
    # The regression sees what rewards depend on.
    assert doubly.high - doubly.estimate < 0.8 * (exact.high - exact.estimate)


def test_parts_and_lines_are_one_log(tmp_path: Path) -> None:
    """Whether lines are in files, in Parquet or in both, the same decisions come of them."""
    written(tmp_path, [line for line in made().lines if line.ts[:13] in ("2027-01-15T10", "2027-01-15T12")])
    whole = judged(tmp_path)
    compact(tmp_path, pytest.fail, lambda *_: None, loops=CATALOG.loops, now=BEGIN)
    assert judged(tmp_path) == whole
    for path in (tmp_path / "lines").glob("*"):
        path.unlink()
    assert judged(tmp_path) == whole


def test_a_new_policy_is_a_shadow(tmp_path: Path) -> None:
    """A shadow that is run anew gives what it gave, to the last bit; another one is judged as challengers are."""
    new = {name: CATALOG.policies[name] for name in (SIGHTED, "shared")}
    found = collected(written(tmp_path, made().lines), new=new)
    again = found.logged.by_policy[f"{SIGHTED} (new)"]
    np.testing.assert_array_equal(again, found.logged.by_policy[SIGHTED])
    assert found.logged.challengers == [SIGHTED, f"{SIGHTED} (new)", "shared"]
    assert {name: len(warnings) for name, warnings in found.warnings.items()} == {f"{SIGHTED} (new)": 1, "shared": 1}
    assert set(found.logged.eras) == set(found.logged.challengers)
    policies = evidence(found.logged, "push").policies
    assert policies["shared"].gate is not None
    assert policies["shared"].snips is not None


def test_warnings_about_new_policies(tmp_path: Path) -> None:
    """Also that there was no prior."""
    directory = written(tmp_path, made().lines[:20])
    [afterwards, prior] = collected(directory, new={"shared": CATALOG.policies["shared"]}).warnings["shared"]
    assert afterwards.startswith("it was run over the log afterwards")
    assert prior.startswith("it had no prior")


def test_as_of(tmp_path: Path) -> None:
    """As of the newest line, or as it was at another moment: what came later is not there."""
    lines: list[Line] = [decision(1), outcome(2), decision(3, ms=BEGIN + 5_000), state(4, ms=BEGIN + 9_000)]
    correction = outcome(5, ms=BEGIN + 90_000_000, n=2, what="corrected", total=-1.0)
    directory = written(tmp_path, [*lines, correction])
    now = collected(directory)
    assert (now.loop, now.as_of, now.first, now.last) == ("tips", BEGIN + 90_000_000, BEGIN, BEGIN + 5_000)
    assert now.logged.matured.tolist() == [True, True]
    assert (now.logged.reward[0], now.logged.reward_in_time[0]) == (-1.0, 0.5)
    for as_of, rewards in ((BEGIN + 999, [math.nan]), (BEGIN + 1_000, [0.5]), (BEGIN + 5_000, [0.5, math.nan])):
        then = collected(directory, as_of=as_of)
        assert then.as_of == as_of
        np.testing.assert_array_equal(then.logged.reward, rewards)
        assert not then.logged.matured.any()
    assert collected(directory, as_of=BEGIN + 10**9).logged.matured.all()


def test_a_log_that_grows_meanwhile(tmp_path: Path) -> None:
    """What is written while the log is read does not let older decisions mature, and is no decision to judge."""
    directory, later = written(tmp_path, [decision(1)]), BEGIN + 10**9
    new = {"greedy": CATALOG.policies["greedy"]}
    more: list[Line] = [decision(2, ms=BEGIN), decision(3, ms=later)]
    found = collected(directory, new=new, advance=lambda: written(directory, more))
    assert (found.as_of, found.logged.n, found.logged.matured.tolist()) == (BEGIN, 1, [False])
    assert collected(directory, new=new).logged.matured.tolist() == [True, True, False]


def test_which_loop(tmp_path: Path) -> None:
    """The one that is named, or the only one, or tips; else it must be named."""
    one = written(tmp_path, [decision(1, loop="mail")])
    assert collected(one).loop == "mail"
    assert not collected(one).is_known
    written(one, [decision(2, loop="news")])
    assert collected(one, loop="news").logged.n == 1
    with pytest.raises(NoSuchLoop, match=r"^--loop: name one of the log's loops: mail, news$"):
        collected(one)
    with pytest.raises(NoSuchLoop, match=r"^--loop push: the log has no decision of this loop; it has mail, news$"):
        collected(one, loop="push")
    written(one, [decision(3)])
    assert (collected(one).loop, collected(one).is_known) == ("tips", True)


def test_nothing_and_nowhere(tmp_path: Path) -> None:
    """A log without a decision is None, a directory that is not there an error, and a strange reward too."""
    asked: dict[str, Any] = {"loop": None, "as_of": None, "new": {}, "advance": lambda: None}
    assert collect(written(tmp_path, [state()]), pytest.fail, CATALOG, **asked) is None
    with pytest.raises(PlaceError, match="is not a directory"):
        collected(tmp_path / "missing")
    written(tmp_path, [decision(1), outcome(2, reward=5.0, total=5.0)])
    with pytest.raises(BadRewards, match=r"^loop tips: reward: takes -1 to 1;"):
        collected(tmp_path)


def test_what_is_wrong_is_told_once(tmp_path: Path) -> None:
    """However often the log is read; and erased users are not in it."""
    [gone] = [line for line in made().lines if isinstance(line, Outcome)][:1]
    directory = written(
        tmp_path, [decision(1), decision(1, "bea", ms=BEGIN + 1), outcome(2, "bea", ms=BEGIN + 2), gone]
    )
    [path] = (directory / "lines").iterdir()
    with path.open("ab") as file:
        file.write(b"{}\n")
    problems: list[str] = []
    new, asked = {"greedy": CATALOG.policies["greedy"]}, {"loop": None, "as_of": None, "advance": lambda: None}
    found = collect(directory, problems.append, CATALOG, new=new, **asked)  # type: ignore[arg-type]
    assert found is not None
    assert (len(problems), found.logged.n, found.as_of) == (1, 2, milliseconds(gone.ts))
