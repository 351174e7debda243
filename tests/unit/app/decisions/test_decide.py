"""Deciding: what is chosen, counted and written."""

import random
from typing import Any

import pytest

from app.decisions.decide import Decider, Decision
from app.policies.catalog import policies
from state import keys
from state.errors import CorruptState
from state.update.changes import Append, Fields, Remove
from state.values import history
from state.values.record import FIELDS, Meta, Record, decode, encode
from tests.unit.app.bandit.samples import task
from tests.unit.app.decisions.scene import (
    CANDIDATES,
    CONTEXT,
    NOW,
    Candidate,
    Chance,
    Noted,
    Twice,
    ask,
    rules_of,
    stored,
)

pytestmark = pytest.mark.anyio

ROWS = policies(alpha=1.0, epsilon=0.5)


def decider(store: Twice, noted: Noted | None = None, chance: random.Random | None = None) -> Decider:
    return Decider(rules_of(store, ROWS, noted), clock=lambda: NOW + 0.9, chance=chance or random.Random(1))


async def test_a_step_that_runs_again_decides_alike() -> None:
    """The seed is drawn once for each decision, before the step. Drawn within it, half of a hundred decisions among a
    hundred candidates would differ between the two runs."""
    chance = Chance(1)
    async with stored() as store:
        for number in range(100):
            await decider(store, chance=chance).decide("egreedy-v1", f"u{number}", CONTEXT, CANDIDATES)
    assert chance.drawn == 100
    assert all(first == second for first, second in store.changes)
    assert len({first.result.candidate_id for first, _ in store.changes}) > 10


async def test_the_first_decision_writes_the_model_and_later_ones_meta() -> None:
    """The whole model is written once; each decision appends one entry and removes nothing."""
    async with stored() as store:
        for _ in range(3):
            await decider(store).decide("linucb-v1", "u", CONTEXT, CANDIDATES)
        row = ROWS["linucb-v1"]
        key = keys.record("u", "linucb-v1")
        found = decode(key, row.d, await store.read(key, FIELDS))
    writes = [change.writes for change, _ in store.changes]
    assert [[set(write.values) for write in some if isinstance(write, Fields)] for some in writes] == [
        [{b"A", b"b", b"meta"}],
        [{b"meta"}],
        [{b"meta"}],
    ]
    assert all([write.key for write in some if isinstance(write, Append)] == [keys.history("u")] for some in writes)
    assert not any(isinstance(write, Remove) for some in writes for write in some)
    assert found is not None
    assert found.meta == Meta(pulls=3, last_updated=NOW)
    assert (found.a == row.prior()[0]).all()


@pytest.mark.parametrize("policy", ROWS)
async def test_the_history_has_what_was_decided_on(policy: str) -> None:
    """The chosen candidate with its own features; the weekday and exploration only where the policy tells of it."""
    candidates = [
        Candidate("a", task(is_overdue=True, task_age_days=3.5, priority=4)),
        Candidate("b", task(task_age_days=0.25, priority=2)),
    ]
    async with stored() as store:
        one = decider(store)
        decisions = [await one.decide(policy, "u", CONTEXT, candidates) for _ in range(10)]
        entries = history.decode("", await store.history("u"))
    tells = policy != "linucb-v1"
    assert len({decision.candidate_id for decision in decisions}) == 1 + tells
    for decision, entry in zip(decisions, entries, strict=True):
        features: dict[str, Any] = dict(candidates[decision.candidate_id == "b"].features)
        assert entry == history.Entry(
            ts=NOW,
            tip_id=decision.candidate_id,
            score=decision.score,
            hour_of_day=9,
            **features,
            policy=policy,
            day_of_week=2 if tells else None,
            exploring=decision.explored if tells else None,
        )


async def test_counted_and_told() -> None:
    """Meta counts explorations, the observer is told of each decision, and the propensity is that of the choice."""
    noted = Noted()
    async with stored() as store:
        one = decider(store, noted)
        decisions = [await one.decide("egreedy-v1", "u", CONTEXT, CANDIDATES[:4]) for _ in range(40)]
        [blob] = await store.read(keys.record("u", "egreedy-v1"), (b"meta",))
    explored = [decision.explored for decision in decisions]
    assert noted.decisions == [("egreedy-v1", each) for each in explored]
    assert blob is not None
    assert int.from_bytes(blob[8:16], "little") == sum(explored)
    assert 5 < sum(explored) < 35
    # Nothing was learned, so the first is the best: 1/2 + 1/2/4, the others 1/2/4.
    assert {(each.candidate_id == "tip-0", each.propensity) for each in decisions} == {(True, 0.625), (False, 0.125)}


async def test_a_model_that_cannot_be_solved() -> None:
    """It is named, and neither counted nor told of."""
    noted = Noted()
    row = ROWS["linucb-v1"]
    key = keys.record("u", row.id)
    a, b = row.prior()
    async with stored() as store:
        damaged = encode(Record(0 * a, b, Meta()))
        await ask(store, "HSET", key, *(part for pair in damaged.items() for part in pair))
        with pytest.raises(CorruptState, match=r"oo:\{u\}:linucb-v1: "):
            await decider(store, noted).decide(row.id, "u", CONTEXT, CANDIDATES)
        assert await store.history("u") == []
    assert noted.decisions == []


async def test_chance_of_its_own() -> None:
    """Without one it draws like any other, and by the clock of the system."""
    async with stored() as store:
        found = await Decider(rules_of(store, ROWS)).decide("egreedy-v2", "u", CONTEXT, CANDIDATES[:1])
        [entry] = history.decode("", await store.history("u"))
    assert isinstance(found, Decision)
    assert found.propensity == 1.0
    assert entry.ts > NOW
