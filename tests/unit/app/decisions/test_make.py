"""Decisions that are kept: the same draws when a step runs again, and what the record and the history say."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from app.bandit.context import Context
from app.decisions.asked import Asked
from app.decisions.decide import Candidate
from app.decisions.errors import BadDecision
from app.decisions.make import Maker
from app.ledger.rules import Rules
from app.messages.decision_ids import parsed
from app.policies.catalog import catalog
from state import keys
from state.errors import KeyReused
from state.values import history
from tests.support.decisions import POLICIES, clock
from tests.unit.app.decisions.scene import Noted, Twice, stored

pytestmark = pytest.mark.anyio

CATALOG = catalog(POLICIES)


def asked(**more: Any) -> Asked:
    candidates = [Candidate(name, {"size": 1.0}) for name in "abc"]
    return Asked(**{"user_id": "u", "loop": "plain", "context": Context({}, {}), "candidates": candidates, **more})


@asynccontextmanager
async def making() -> AsyncIterator[tuple[Twice, Maker, Noted]]:
    async with stored() as store:
        noted = Noted()
        rules = Rules.of(store, CATALOG, 1_000, noted)
        with clock():
            yield store, Maker(rules, chance=random.Random(4)), noted


async def test_a_step_may_run_twice() -> None:
    """With the same id, draws and writes, also without an id of the client's; it is told of once."""
    async with making() as (store, maker, noted):
        made = [await maker.make(asked()) for _ in range(3)]
        assert all(first == second for first, second in store.changes)
    assert len({each.id for each in made}) == 3
    assert [parsed(each.id) is not None and not each.repeated for each in made] == [True] * 3
    assert [policy for policy, _ in noted.decisions] == ["serves"] * 3
    assert noted.lacking == [("plain", ["mood", "side"])] * 3


async def test_the_record() -> None:
    """All propensities of each policy, and the columns of the chosen one."""
    async with making() as (_, maker, noted):
        made = await maker.make(asked(local="x", excluded=["a"], deferred=True))
        again = await maker.make(asked(local="x", excluded=["a"], deferred=True))
        with pytest.raises(KeyReused, match="the id x was used before"):
            await maker.make(asked(local="x"))
    kept = made.record
    assert (again.repeated, again.record, len(noted.decisions)) == (True, kept, 1)
    assert (kept.status, kept.ids, kept.propensities[0]) == ("deferred", ["a", "b", "c"], 0.0)
    assert kept.deadline - kept.decided == 3_600_000
    assert [each.policy for each in kept.by_policy] == ["serves", "watches", "fades"]
    assert all(sum(each.propensities) == pytest.approx(1.0) for each in kept.by_policy)
    assert dict(zip(kept.labels, kept.x, strict=True))["size"] == 1.0


async def test_no_such_loop() -> None:
    """The error names those that there are."""
    async with making() as (_, maker, _):
        with pytest.raises(BadDecision, match=r"no 'other', there are .*plain"):
            await maker.make(asked(loop="other"))


async def test_tasks_are_in_the_history() -> None:
    """A decision of the first system's policies, with what that assumed where nothing is said."""
    async with making() as (store, maker, _):
        task = Candidate("t", {"priority": 9, "is_overdue": 1, "task_age_days": "odd"})
        await maker.make(asked(loop="tips", candidates=[task], context=Context({"hour_of_day": 7}, {})))
        [entry] = history.decode("k", await store.history("u"))
        assert await store.read(keys.shared("u"), (b"open",)) == [b"1"]
    assert (entry.tip_id, entry.hour_of_day, entry.priority, entry.is_overdue, entry.task_age_days) == (
        "t",
        7,
        4,
        True,
        0.0,
    )
