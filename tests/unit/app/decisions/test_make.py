"""Decisions that are kept: the same draws when a step runs again, and what the record and the history say."""

import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from app.bandit.context import Context
from app.decision_log import lines
from app.decisions.asked import Asked, Conditions, Slot
from app.decisions.decide import Candidate
from app.decisions.errors import BadDecision, Gone
from app.decisions.make import Maker
from app.ledger.rules import Rules
from app.messages.decision_ids import decision_id, of_slot, parsed
from app.messages.decisions import DecisionCandidate
from app.policies.catalog import catalog
from app.policies.plan import Plans
from state import keys
from state.errors import KeyReused
from state.update.changes import Change, Drop, Entry
from state.values import history, record
from state.values.decision import Mixed, Terms
from state.values.loop import Canary, Stage, Standing
from tests.support.decisions import POLICIES, clock
from tests.unit.app.decision_log.samples import decision
from tests.unit.app.decisions.scene import Noted, Twice, stored

pytestmark = pytest.mark.anyio

CATALOG = catalog(POLICIES)


def asked(**more: Any) -> Asked:
    candidates = [Candidate(name, {"size": 1.0}) for name in "abc"]
    return Asked(**{"user_id": "u", "loop": "plain", "context": Context({}, {}), "candidates": candidates, **more})


@asynccontextmanager
async def making(states: Mapping[str, Standing] = {}) -> AsyncIterator[tuple[Twice, Maker, Noted]]:
    async with stored() as store:
        noted = Noted()
        rules = Rules.of(store, CATALOG, 1_000, noted)
        rules = msgspec.structs.replace(rules, plans=Plans(lambda: CATALOG, lambda: states))
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


def test_candidates_in_the_log() -> None:
    """What a client sends, and what stands for it elsewhere, are in a line as its own candidates are."""
    line = lines.encode(decision(candidates=[lines.Candidate("a", {"size": 1})]))
    for kind in (Candidate, DecisionCandidate):
        assert lines.encode(decision(candidates=[kind("a", {"size": 1})])) == line


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


SLOTS = [
    Slot(id="top", features={"mood": 1.0}),
    Slot(id="a / b", excluded=["b"]),
    Slot(id="end", excluded=["a", "b"]),
]


async def test_slots() -> None:
    """Each is a decision by its own features, among what is left of the candidates; and a repeat gets the same ones."""
    async with making() as (store, maker, noted):
        made = await maker.make_slots(asked(local="x", deferred=True), SLOTS, name="any / text")
        assert all(first == second for first, second in store.changes)
        again = await maker.make_slots(asked(local="x", deferred=True), SLOTS)
        for other in (SLOTS[:2], [*SLOTS[::-1]], [Slot(id="else")]):
            with pytest.raises(KeyReused):
                await maker.make_slots(asked(local="x", deferred=True), other)
        with pytest.raises(KeyReused):
            await maker.make(asked(local="x", deferred=True))
        assert len(await store.decisions("u")) == 3
    assert [each.repeated for each in (*made, *again)] == [False] * 3 + [True] * 3
    assert [(each.id, each.record) for each in again] == [(each.id, each.record) for each in made]
    kept = [each.record for each in made]
    # The end takes nothing but c, so the others may not.
    assert [each.chosen for each in kept] == [1, 0, 2]
    assert [each.propensities for each in kept] == [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    assert [(each.name, each.slot, each.slots) for each in kept] == [
        ("any / text", "top", ["top", "a / b", "end"]),
        ("any / text", "a / b", []),
        ("any / text", "end", []),
    ]
    assert [each.id for each in made] == [
        decision_id(one, "u") for one in ("x", of_slot("x", "a / b"), of_slot("x", "end"))
    ]
    assert [dict(zip(each.labels, each.x, strict=True))["mood"] for each in kept] == [1.0, 0.0, 0.0]
    assert [each.born for each in kept] == [1, 2, 3]
    assert len({each.seed for each in kept}) == 3
    assert {each.status for each in kept} == {"deferred"}
    assert len(noted.decisions) == 3


async def test_propensities_of_slots_are_conditional() -> None:
    """Where the first one explores, the second one chooses among the others, with all of the probability."""
    slots = [Slot(id="one"), Slot(id="two")]
    async with making() as (_, maker, _):
        made = [[each.record for each in await maker.make_slots(asked(), slots)] for _ in range(40)]
    assert len({(first.chosen, second.chosen) for first, second in made}) == 6
    for first, second in made:
        assert sum(first.propensities) == pytest.approx(1.0)
        assert second.propensities[first.chosen] == 0.0
        assert sum(second.propensities) == pytest.approx(1.0)
        assert all(sum(each.propensities) == pytest.approx(1.0) for each in second.by_policy)
        assert first.seed != second.seed


async def test_slots_of_which_some_have_gone() -> None:
    """The others cannot be made again beside what is there."""
    async with making() as (store, maker, _):
        ask = asked(local="x", loop="small")
        await maker.make_slots(ask, [Slot(id="one"), Slot(id="two")])
        await store.update(
            "u", (Entry(keys.decisions("u"), b"x"),), lambda _: Change(None, (Drop(keys.decisions("u"), (b"x",)),))
        )
        with pytest.raises(Gone, match="a part of it is not kept"):
            await maker.make_slots(ask, [Slot(id="one"), Slot(id="two")])


@pytest.mark.parametrize(
    ("slots", "problem"),
    [
        ([], "takes 1 to 50"),
        ([Slot(id=str(at)) for at in range(51)], "takes 1 to 50"),
        ([Slot(id="x"), Slot(id="x")], "two have the same id"),
        ([Slot(id=each) for each in "wxyz"], "not enough candidates"),
        ([Slot(id="x", excluded=["d"])], "'d' is not the id of a candidate"),
        ([Slot(id="x", excluded=["a", "b", "c"])], "no candidate is left"),
    ],
)
async def test_slots_that_cannot_be_filled(slots: list[Slot], problem: str) -> None:
    """Refused before anything is read."""
    async with making() as (store, maker, _):
        with pytest.raises(BadDecision, match=problem):
            await maker.make_slots(asked(), slots)
        assert store.changes == []


async def test_other_conditions() -> None:
    """A caller's own instead of the loop's; they do not make it another request."""
    terms = Terms(0.0, 99.0, 0.5, discards=True, adds=True)
    async with making() as (_, maker, _):
        made = await maker.make(asked(local="x"), conditions=Conditions(terms, 1_500))
        again = await maker.make(asked(local="x"), conditions=Conditions(terms, 9_000))
    assert (made.record.terms, made.record.deadline - made.record.decided) == (terms, 1_500)
    assert (again.repeated, again.record) == (True, made.record)


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


async def test_a_canary_decides_its_share() -> None:
    """The record says under which state and by which of the two, and what each alone would have done; only who decided
    counts it. The same seed makes the same of it when a step runs again."""
    stage = Stage(7, "serves", Canary("watches", 0.5))
    async with making({"plain": Standing(7, "e", "n", stage)}) as (store, maker, noted):
        made = [(await maker.make(asked(user_id="v"))).record for _ in range(60)]
        assert all(first == second for first, second in store.changes)
        counted = {}
        for name, size in (("serves", 4), ("watches", 3), ("fades", 2)):
            key = keys.record("v", name)
            found = record.decode(key, size, await store.read(key, record.FIELDS))
            counted[name] = 0 if found is None else found.meta.pulls
    assert {each.policy for each in made} == {"serves", "watches"}
    assert [each.by_canary for each in made] == [each.policy == "watches" for each in made]
    assert {each.state for each in made} == {7}
    assert {each.canary for each in made} == {Mixed("watches", 0.5)}
    assert counted == {
        "serves": 60 - sum(each.by_canary for each in made),
        "watches": 60 - counted["serves"],
        "fades": 0,
    }
    assert [policy for policy, _ in noted.decisions] == [each.policy for each in made]
    for each in made:
        assert [one.policy for one in each.by_policy] == ["serves", "watches", "fades"]
        own, other = (one.propensities for one in each.by_policy[:2])
        assert each.propensities == [0.5 * first + 0.5 * second for first, second in zip(own, other, strict=True)]


async def test_the_history_of_a_canary() -> None:
    """A decision of the first system's loop is in the history under the policy that chose; others leave none."""
    stage = Stage(1, "egreedy-v2", Canary("tips-v3", 0.5))
    async with making({"tips": Standing(1, "e", "n", stage)}) as (store, maker, noted):
        for _ in range(8):
            await maker.make(asked(loop="tips", candidates=[Candidate("t", {"priority": 2})]))
        entries = history.decode("k", await store.history("u"))
    served = [policy for policy, _ in noted.decisions]
    assert set(served) == {"egreedy-v2", "tips-v3"}
    assert [entry.policy for entry in entries] == ["egreedy-v2"] * served.count("egreedy-v2")


async def test_who_makes_room_is_read_with_all_else() -> None:
    """A user who has as many open ones as may be costs no more round trips, but for the first time in a process."""
    async with making() as (store, maker, _):
        runs = []
        for one in (*[maker] * 4, *[Maker(maker._rules, chance=random.Random(5))] * 2):
            before = store.begun
            await one.make(asked(loop="small"))
            runs.append(store.begun - before)
    assert runs[1:] == [1, 1, 1, 2, 1]  # the very first one has its columns published
