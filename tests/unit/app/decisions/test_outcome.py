"""What becomes of a decision: each change is a function of the record, the time and what was told."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from app.bandit.context import Context
from app.decisions import twice
from app.decisions.asked import Asked, Slot
from app.decisions.decide import Candidate
from app.decisions.errors import Gone, NotKnown, Refused, Unfit
from app.decisions.make import Maker
from app.decisions.outcome import Outcome, Outcomes
from app.decisions.told import Told
from app.ledger.rules import Rules
from app.messages.decision_ids import decision_id, made
from app.policies.catalog import catalog
from tests.support.decisions import GRACE_SECONDS, POLICIES, WINDOW_SECONDS, Clock, clock
from tests.unit.app.decisions.scene import Noted, Twice, stored

pytestmark = pytest.mark.anyio

CATALOG = catalog(POLICIES)


class Scene:
    """Decisions of one user, and what becomes of them."""

    def __init__(self, store: Twice, time: Clock) -> None:
        self.noted = Noted()
        rules = Rules.of(store, CATALOG, GRACE_SECONDS * 1_000, self.noted)
        self.store, self.time = store, time
        self.twice = twice.Twice()
        self.maker, self.outcomes = Maker(rules, chance=random.Random(4)), Outcomes(rules, self.twice)

    async def decide(self, loop: str, local: str | None = None, **more: Any) -> str:
        candidates = [Candidate("a", {"size": 1.0})]
        asked = Asked(user_id="u", loop=loop, local=local, context=Context({}, {}), candidates=candidates, **more)
        return (await self.maker.make(asked)).id


@asynccontextmanager
async def scene() -> AsyncIterator[Scene]:
    with clock() as time:
        async with stored() as store:
            yield Scene(store, time)


async def test_steps_may_run_twice() -> None:
    """They change nothing but what they return."""
    async with scene() as here:
        whole, other = await here.decide("plain"), await here.decide("plain", deferred=True)
        here.store.changes.clear()
        assert (await here.outcomes.reward(whole, Told(reward=1.0))).what == "applied"
        assert (await here.outcomes.correct(whole, Told(reward=2.0))).what == "corrected"
        assert (await here.outcomes.retract(whole, Told())).what == "retracted"
        assert (await here.outcomes.activate(other)).what == "activated"
        assert (await here.outcomes.cancel(other)).what == "cancelled"
        assert len(here.store.changes) >= 5
        for first, second in here.store.changes:
            assert first.result == second.result
            assert [repr(write) for write in first.writes] == [repr(write) for write in second.writes]


async def test_who_teaches_in_both_ways_is_noticed() -> None:
    """Where a reward teaches for the first time; to repeat, correct or refuse it is not to teach."""
    async with scene() as here:
        first, second = await here.decide("plain"), await here.decide("plain")
        now = (await here.outcomes.read(first))[0].decided // 1_000
        here.twice.note("u", ["watches", "other"], "first", now)
        await here.outcomes.reward(first, Told(reward=1.0))
        assert here.noted.twice == ["watches"]
        here.twice.note("u", ["watches"], "first", now)
        await here.outcomes.reward(first, Told(reward=1.0))
        await here.outcomes.correct(first, Told(reward=2.0))
        with pytest.raises(Unfit):
            await here.outcomes.reward(second, Told(reward=99.0))
        assert here.noted.twice == ["watches"]


async def test_looking_writes_nothing() -> None:
    """Whatever is due, and whether there is such a decision or not."""
    async with scene() as here:
        whole = await here.decide("books")
        here.time.turn(seconds=WINDOW_SECONDS)
        here.store.changes.clear()
        assert (await here.outcomes.read(whole))[0].status == "defaulted"
        with pytest.raises(NotKnown):
            await here.outcomes.read(decision_id("y", "u"))
        assert [change.writes for pair in here.store.changes for change in pair] == [()] * len(here.store.changes) * 2


async def test_a_refusal_settles_what_is_due() -> None:
    """What time has done does not wait for an outcome that is accepted."""
    async with scene() as here:
        whole = await here.decide("books")
        here.time.turn(seconds=WINDOW_SECONDS)
        here.store.changes.clear()
        with pytest.raises(Refused, match="no reward to take back") as refused:
            await here.outcomes.retract(whole, Told())
        assert (refused.value.status, refused.value.recorded) == ("defaulted", -2.0)
        assert here.store.changes[-1][1].writes


async def test_old_ids() -> None:
    """Gone from the moment on at which the longest window and the grace are over."""
    old = (86_400 + GRACE_SECONDS) * 1_000
    async with scene() as here:
        for moment, error in ((Clock.START - old, Gone), (Clock.START - old + 1, NotKnown), (Clock.START, NotKnown)):
            with pytest.raises(error):
                await here.outcomes.read(decision_id(made(moment, 1), "u"))
        with pytest.raises(NotKnown):
            await here.outcomes.read("malformed")


async def test_what_does_not_fit() -> None:
    """A part where there are none, none where there must be, and a sum out of range."""
    async with scene() as here:
        plain, summed = await here.decide("plain"), await here.decide("sums")
        for whole, told in (
            (plain, Told(reward=1.0, part="a")),
            (plain, Told(reward=9.0)),
            (summed, Told(reward=1.0)),
            (summed, Told(reward=9.0, part="a")),
        ):
            with pytest.raises(Unfit):
                await here.outcomes.reward(whole, told)
        assert (await here.outcomes.read(plain))[0].n == 0


async def test_sums_in_the_order_in_which_they_came() -> None:
    """A correction keeps a part's place, so every replica adds the same numbers in the same order."""
    async with scene() as here:
        whole = await here.decide("sums")
        for part, reward in (("b", 0.1), ("a", 0.2), ("c", 0.3)):
            await here.outcomes.reward(whole, Told(reward=reward, part=part))
        done = await here.outcomes.correct(whole, Told(reward=0.7, part="b"))
    assert done.record.reward == 0.7 + 0.2 + 0.3
    assert list(done.record.parts) == ["b", "a", "c"]


async def test_slots_at_once() -> None:
    """Each has its own outcome in one transaction; what one refuses does not keep the others from theirs."""
    async with scene() as here:
        candidates = [Candidate(name, {"size": 1.0}) for name in "abc"]
        asked = Asked(
            user_id="u", loop="plain", local="x", context=Context({}, {}), candidates=candidates, deferred=True
        )
        made = await here.maker.make_slots(asked, [Slot(id=each) for each in ("one", "two", "three")])
        whole = made[0].id
        told = {"three": Told(reward=1.0), "one": Told(reward=99.0), "four": Told(reward=1.0), "two": Told(reward=2.0)}
        here.store.changes.clear()
        done = await here.outcomes.reward_slots(whole, told)
        assert len(here.store.changes) == 1
        assert [one.what if isinstance(one, Outcome) else type(one) for one in done] == [
            "held",
            Unfit,
            NotKnown,
            "held",
        ]
        shown = await here.outcomes.activate_all(whole)
        rewards = {one.id: one.record.reward for one in shown if isinstance(one, Outcome)}
        assert rewards == {made[0].id: None, made[1].id: 2.0, made[2].id: 1.0}
        again = await here.outcomes.reward_slots(whole, {"two": Told(reward=3.0), "one": Told(reward=3.0)})
        assert isinstance(again[0], Refused)
        assert isinstance(again[1], Outcome)
        assert (again[1].id, again[1].what, again[1].record.reward) == (whole, "applied", 3.0)
        assert {one.what for one in await here.outcomes.activate_all(whole) if isinstance(one, Outcome)} == {
            "duplicate"
        }
        with pytest.raises(NotKnown):
            await here.outcomes.activate_all(decision_id("y", "u"))


async def test_without_slots_there_is_one() -> None:
    """It is activated, and it has no slot of any id."""
    async with scene() as here:
        whole = await here.decide("plain", deferred=True)
        [done] = await here.outcomes.activate_all(whole)
        assert isinstance(done, Outcome)
        assert (done.id, done.what) == (whole, "activated")
        [odd] = await here.outcomes.reward_slots(whole, {"": Told(reward=1.0)})
        assert isinstance(odd, NotKnown)
