"""Sums of parts are the sums of the decisions: the same as those made of lines that are read one by one."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.bandit.ridge import Vector
from app.decision_log.files import Files
from app.decision_log.lines import Candidate, Decision, Line, encode, milliseconds, moment
from app.evaluation.logged import Logged, user_code
from app.evaluation.sums import COLUMNS, Sums, merged, reduced
from app.log_reading import sums as module
from app.log_reading.compact import compact
from app.log_reading.joined import Told, joined
from app.log_reading.order import by_decision
from app.log_reading.parts import engine
from app.log_reading.sums import DRAWN, beside, stored
from app.policies.catalog import catalog
from tests.unit.app.decision_log.samples import BEGIN, decision, outcome

HOUR = 3_600_000
NOW = BEGIN + 2 * HOUR
LOOPS = catalog("""
[loops.mail]
champion = "egreedy-v1"
reward = { min = 0, max = 2 }
missing = 0.5
""").loops


def shares(chance: random.Random, count: int) -> list[float]:
    numbers = [chance.random() + 0.01 for _ in range(count)]
    return [number / sum(numbers) for number in numbers]


def story(chance: random.Random) -> list[Line]:
    """Decisions of three hours for ten users, with every kind of outcome, two states and two versions of a policy."""
    lines: list[Line] = []
    for number in range(120):
        ms, count = BEGIN + number * HOUR // 50, chance.randrange(1, 5)
        propensities, chosen = shares(chance, count), chance.randrange(count)
        by_policy = {"egreedy-v1": shares(chance, count)} | ({"tips-v3": shares(chance, count)} if number % 5 else {})
        deferred = number > 40 and number % 11 == 0
        made = decision(
            2 * number + 1,
            f"user-{number % 10}",
            ms,
            loop="mail",
            state=number // 60,
            versions={"egreedy-v1": "1", "tips-v3": "1" if number < 90 else "2"},
            candidates=[Candidate(f"c{place}", {}) for place in range(count)],
            propensities=propensities,
            chosen=chosen,
            propensity=propensities[chosen],
            by_policy=by_policy,
            window_s=3_600 + number % 3,
            deferred=deferred,
            share=0.1 if number < 60 else 0.0,
            canary="tips-v3" if number < 60 else "",
        )
        lines.append(made)
        told: dict[str, Any] = {"born": made.seq, "user": made.user, "decided": made.ts}
        kind, total = number % 6, chance.choice([0.0, 0.5, 2.0])
        if kind == 1:
            lines.append(outcome(made.seq + 1, ms=ms + 60_000, total=total, **told))
        elif kind == 2:
            lines.append(outcome(made.seq + 1, ms=ms + 60_000, total=total, **told))
            lines.append(outcome(500 + number, ms=ms + 2 * HOUR, what="corrected", total=1.0, **told))
        elif kind == 3:
            lines.append(outcome(made.seq + 1, ms=ms + 2 * HOUR, what="default", total=0.25, **told))
        elif kind == 4:
            what = "activated" if deferred else chance.choice(["cancelled", "expired", "retracted"])
            lines.append(outcome(made.seq + 1, ms=ms + 60_000, what=what, total=None, learned=[], **told))
    return lines


def expected(lines: Sequence[Line], policy: str) -> Sums:
    """The sums of a policy, from decisions one by one: each hour and era apart, as the gate's prefix is."""
    told = sorted(joined(sorted(lines, key=by_decision)), key=lambda each: each.decision.ts)
    groups: dict[tuple[str, int, str], list[Told]] = {}
    for each in told:
        made = each.decision
        groups.setdefault((made.ts[:13], made.state, made.versions["egreedy-v1"]), []).append(each)
    eras = {(0, "1"): 0, (1, "1"): 1, (1, "2"): 2} if policy == "tips-v3" else {(0, "1"): 0, (1, "1"): 1}
    return merged([_reduced(group, policy, eras) for group in groups.values()])


def _reduced(group: list[Told], policy: str, eras: dict[tuple[int, str], int]) -> Sums:
    made: list[Decision] = [each.decision for each in group]
    sizes = [len(each.candidates) for each in made]

    def spread(name: str) -> Vector:
        parts = [each.by_policy.get(name, [np.nan] * size) for each, size in zip(made, sizes, strict=True)]
        return np.concatenate(parts)

    def numbers(values: list[float | None]) -> Vector:
        return np.array([np.nan if value is None else value for value in values])

    logged = Logged(
        champion="egreedy-v1",
        starts=np.concatenate(([0], np.cumsum(sizes))),
        propensities=np.concatenate([each.propensities for each in made]),
        by_policy={name: spread(name) for name in ("egreedy-v1", "tips-v3")},
        chosen=np.array([each.chosen for each in made]),
        reward=numbers([each.total for each in group]),
        reward_in_time=numbers([each.total_in_time for each in group]),
        user=np.array([user_code(each.user) for each in made], np.uint64),
        hour=np.array([milliseconds(each.ts) // HOUR for each in made]),
        matured=np.array([each.shown is False or (each.shown is True and each.deadline <= NOW) for each in group]),
        shown=np.array([each.shown is True for each in group]),
        eras={},
        share=np.array([each.share for each in made]),
        excluded=np.zeros(sum(sizes), bool),
        context=np.zeros((len(made), 0)),
        features=np.zeros((sum(sizes), 0)),
        low=0.0,
        high=2.0,
        missing=0.5,
    )
    if policy == DRAWN:
        return reduced(logged, logged.propensities, np.array([each.state for each in made]), by="bucket")
    era = np.array([eras[each.state, each.versions[policy]] for each in made])
    return reduced(logged, logged.by_policy[policy], era, by="bucket")


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [7, 50_000])
def test_the_same_sums(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    """Of champion, challenger and what was drawn from, all columns, however many decisions are in memory at once."""
    monkeypatch.setattr(module, "_CHUNK", chunk)
    lines = story(random.Random(3))
    files = Files(tmp_path, clock=lambda: BEGIN / 1_000)
    files.append(map(encode, lines))
    files.close()
    compact(tmp_path, print, lambda *_: None, loops=LOOPS, now=NOW)
    with engine() as base:
        assert beside(tmp_path, base, "mail") == ("egreedy-v1", [DRAWN, "egreedy-v1", "tips-v3"])
        assert beside(tmp_path, base, "other") is None
        assert stored(tmp_path, base, "mail", "egreedy-v1", "nobody") is None
        for policy in (DRAWN, "egreedy-v1", "tips-v3"):
            found, wanted = stored(tmp_path, base, "mail", "egreedy-v1", policy), expected(lines, policy)
            assert found is not None
            wanted = wanted.within(wanted.era >= 0)
            for name in ("hour", "era", "cluster"):
                assert getattr(found, name).tolist() == getattr(wanted, name).tolist()
            for column in COLUMNS:
                np.testing.assert_allclose(found[column], wanted[column], rtol=1e-12, atol=1e-12, err_msg=column)
            # What the test is about is in it.
            assert found.total("open") > 0
            assert found.total("gate_n") > 20
            assert found.total("known") > found.total("gate_n")


def test_no_sums(tmp_path: Path) -> None:
    """A log that was not compacted has none."""
    with engine() as base:
        assert stored(tmp_path, base, "mail", "a", "b") is None
    assert moment(NOW).startswith("2026-11-28T11")
