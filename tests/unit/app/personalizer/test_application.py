"""Ranks, rewards and activations, over an embedded store."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from app.decisions.make import Maker
from app.decisions.outcome import Outcomes
from app.ledger.rules import Rules
from app.messages.personalizer import MultiSlotRank, RankAnswer, RankRequest
from app.personalizer.application import Application
from app.personalizer.configuration import Configuration
from app.personalizer.errors import Refusal
from app.personalizer.following import Followed
from app.policies.catalog import catalog
from tests.unit.app.decisions.scene import stored

pytestmark = pytest.mark.anyio
RANK = {"actions": [{"id": "a", "features": [{"x": 1}]}, {"id": "b", "features": [{"y": 1}]}]}


def rank(**more: Any) -> RankRequest:
    return msgspec.convert({**RANK, **more}, RankRequest)


class Seen:
    """An observer."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.matches: list[bool] = []

    def personalizer_told(self, outcome: str) -> None:
        self.told.append(outcome)

    def personalizer_matched(self, *, matched: bool) -> None:
        self.matches.append(matched)


@asynccontextmanager
async def application() -> AsyncIterator[tuple[Application, Followed, Seen]]:
    async with stored() as store:
        rules = Rules.of(store, catalog(), 0)
        seen, followed = Seen(), Followed(store.shared, "app")
        yield Application(Maker(rules), Outcomes(rules), followed, seen, loop="personalizer"), followed, seen


def setting(**more: Any) -> Callable[[Configuration, int], Configuration]:
    return lambda before, _: msgspec.structs.replace(before, **more)


async def test_a_retry_is_the_same_event() -> None:
    """With an event id, or with the id by which a library marks what it repeats; without either it is a new one."""
    async with application() as (app, _, _):
        named = [await app.rank("app", rank(eventId="e 1"), "") for _ in range(2)]
        marked = [await app.rank("app", rank(), "r1") for _ in range(2)]
        other = await app.rank("app", rank(), "r2")
        plain = [await app.rank("app", rank(eventId=None), "") for _ in range(2)]
    assert named[0].answer == named[1].answer
    assert marked[0].answer == marked[1].answer
    assert [each.repeated for each in (*named, *marked, *plain)] == [False, True, False, True, False, False]
    assert len({each.answer.event_id for each in (*named, *marked, other, *plain)}) == 5
    assert named[0].answer.event_id == "e 1"


async def test_an_event_id_that_was_used_before() -> None:
    """Is refused by the name that its client knows, for one action and for slots."""
    async with application() as (app, _, _):
        await app.rank("app", rank(eventId="e 1"), "")
        with pytest.raises(Refusal, match=r"^eventId: e 1 was used before for another rank$"):
            await app.rank("app", rank(eventId="e 1", contextFeatures=[{"x": 1}]), "")
        with pytest.raises(Refusal, match=r"^eventId: e 1 was used before for another rank$"):
            await app.rank_slots("app", wanted(eventId="e 1"), "")


async def test_the_first_reward_counts() -> None:
    """Others are dropped, and the same again is none; an unknown event is told, and all are counted."""
    async with application() as (app, _, seen):
        await app.rank("app", rank(eventId="e"), "")
        found = [await app.reward("app", "e", value, "") for value in (1.0, 1.0, 0.5)]
        found += [await app.reward("app", "f", 1.0, ""), await app.reward("ann", "e", 1.0, "")]
    assert found == seen.told == ["applied", "duplicate", "dropped", "unknown", "unknown"]


async def test_an_event_that_waits_for_its_activation() -> None:
    """Its reward is held until then."""
    async with application() as (app, _, _):
        await app.rank("app", rank(eventId="e", deferActivation=True), "")
        assert await app.reward("app", "e", 1.0, "") == "held"
        assert await app.activate("app", "e") == "activated"
        assert await app.activate("app", "e") == "duplicate"
        assert await app.activate("app", "f") == "unknown"


async def test_rewards_that_add_up() -> None:
    """Each has its own part, by what marks a request; an event that began under another configuration keeps it."""
    async with application() as (app, followed, _):
        await app.rank("app", rank(eventId="old"), "")
        await followed.change(setting(aggregation="sum"))
        await app.rank("app", rank(eventId="e"), "")
        found = [await app.reward("app", "e", 1.0, f"r{n}") for n in (1, 2, 2)]
        found += [await app.reward("app", "old", 1.0, "r1"), await app.reward("app", "old", 0.5, "r2")]
        for n in range(3, 65):
            assert await app.reward("app", "e", 1.0, f"r{n}") == "applied"
        found.append(await app.reward("app", "e", 1.0, "r65"))
    assert found == ["applied", "applied", "duplicate", "applied", "dropped", "full"]


async def test_exploration_and_logging() -> None:
    """The share that explores is that of the configuration; who only logs learns nothing."""
    async with application() as (app, followed, _):
        await followed.change(setting(exploration=0.5, mode="LoggingOnly"))
        first = await app.rank("app", rank(eventId="e"), "")
        assert isinstance(first.answer, RankAnswer)
        assert sorted(each.probability for each in first.answer.ranking) == [0.25, 0.75]
        shown = first.answer.reward_action_id
        assert await app.reward("app", "e", -1.0 if shown == first.answer.ranking[0].id else 1.0, "") == "applied"
        again = await app.rank("app", rank(eventId="f"), "")
    assert isinstance(again.answer, RankAnswer)
    assert {each.id: each.probability for each in again.answer.ranking} == {
        each.id: each.probability for each in first.answer.ranking
    }


@pytest.mark.slow
async def test_an_apprentice() -> None:
    """Shows the first action that is not excluded with certainty, learns nothing from rewards, and comes to choose the
    same itself; who is online then begins with that, and soon learns what is better."""
    actions = [{"id": name, "features": [{"kind": name}]} for name in "abc"]
    async with application() as (app, followed, seen):
        await followed.change(setting(mode="Apprentice"))
        for n in range(60):
            order = [actions[(place + n) % 3] for place in range(3)]
            wanted = sorted(order, key=lambda each: each["id"] != "b")
            made = await app.rank("app", rank(actions=wanted, eventId=str(n), excludedActions=["c"]), "")
            assert isinstance(made.answer, RankAnswer)
            assert (made.answer.reward_action_id, made.answer.ranking[0].probability) == ("b", 1.0)
            await app.reward("app", str(n), -1.0, "")
        assert len(made.agreed) == 1
        assert all(seen.matches[-30:])
        await followed.change(setting(mode="Online"))
        online = await app.rank("app", rank(actions=actions, eventId="online"), "")
        assert isinstance(online.answer, RankAnswer)
        assert max(online.answer.ranking, key=lambda each: each.probability).id == "b"
        for n in range(200):
            made = await app.rank("app", rank(actions=actions, eventId=f"online {n}"), "")
            assert isinstance(made.answer, RankAnswer)
            await app.reward("app", f"online {n}", {"a": 0.6, "b": 0.3, "c": 0.0}[made.answer.reward_action_id], "")
        last = await app.rank("app", rank(actions=actions, eventId="last"), "")
        assert isinstance(last.answer, RankAnswer)
        assert max(last.answer.ranking, key=lambda each: each.probability).id == "a"
    assert len(seen.matches) == 60


def wanted(**more: Any) -> MultiSlotRank:
    actions = [{"id": name, "features": [{"kind": name}]} for name in "abc"]
    slots = [{"id": "top", "baselineAction": "b"}, {"id": "side", "baselineAction": "a", "excludedActions": ["c"]}]
    return msgspec.convert({"actions": actions, "slots": slots, **more}, MultiSlotRank)


async def test_slots() -> None:
    """Each gets an action of its own; a reward is for a slot, an activation for all of them."""
    async with application() as (app, _, seen):
        made = [await app.rank_slots("app", wanted(eventId="e", deferActivation=True), "") for _ in range(2)]
        found = [await app.reward_slots("app", "e", {"top": 1.0, "side": 0.0, "none": 1.0}, "")]
        found += [await app.activate("app", "e"), await app.activate("app", "e")]
        found += [
            await app.reward_slots("app", "e", {"top": 0.5}, ""),
            await app.reward_slots("app", "x", {"a": 1}, ""),
        ]
    assert (made[0].answer, made[0].repeated, made[1].repeated) == (made[1].answer, False, True)
    shown = [each.reward_action_id for each in getattr(made[0].answer, "slots", ())]
    assert len(set(shown)) == 2
    assert shown[1] in "ab"
    assert found == ["held,unknown", "activated", "duplicate", "dropped", "unknown"]
    assert len(seen.told) == 9


async def test_an_apprentice_of_slots() -> None:
    """Shows what each slot would have without it."""
    async with application() as (app, followed, seen):
        await followed.change(setting(mode="Apprentice"))
        made = await app.rank_slots("app", wanted(), "r1")
    assert [each.reward_action_id for each in getattr(made.answer, "slots", ())] == ["b", "a"]
    assert len(seen.matches) == len(made.agreed) == 2
