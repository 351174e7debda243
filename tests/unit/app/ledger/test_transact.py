"""A transaction of a user: what is due comes first, and the log tells of all that changed."""

import random
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import msgspec
import pytest

from app.bandit.context import Context
from app.decision_log.lines import Decision, Line, Outcome, State, decode
from app.decisions.asked import Asked
from app.decisions.decide import Candidate, Decider
from app.decisions.errors import Gone, NotKnown, Refused, Unfit
from app.decisions.make import Maker
from app.decisions.outcome import Outcomes
from app.decisions.reward import Learner
from app.decisions.told import Told
from app.learning.fit import own_of
from app.ledger.rules import Rules
from app.log_reading.rebuild import Epoch
from app.log_reading.verify import Held, verdict
from app.policies.catalog import catalog
from app.policies.plan import Plans
from state import keys
from state.values import decision, record
from state.values.loop import Canary, Stage, Standing
from tests.support.decisions import GRACE_SECONDS, POLICIES, WINDOW_SECONDS, Clock, clock
from tests.unit.app.decisions.scene import CANDIDATES, CONTEXT, Noted, Twice, stored

pytestmark = pytest.mark.anyio

CATALOG = catalog(POLICIES)
OWN = {policy.id: own_of(policy) for policy in CATALOG.policies.values()}
COLUMNS = {own.whole.decode(): own.columns for own in OWN.values()}
LOOPS = ("plain", "books", "books", "sums", "small-books")


class Scene:
    """All that can be done to a user, with a log or without."""

    def __init__(self, store: Twice, time: Clock, *, logs: bool) -> None:
        self.store, self.time, self.noted = store, time, Noted()
        self._chance = random.Random(5)
        self.states: dict[str, Standing] = {}
        self.logs(logs)

    def logs(self, logs: bool) -> None:
        rules = Rules.of(self.store, CATALOG, GRACE_SECONDS * 1_000, self.noted, logs=logs)
        rules = msgspec.structs.replace(rules, plans=Plans(lambda: CATALOG, lambda: self.states))
        self.maker, self.outcomes = Maker(rules, chance=self._chance), Outcomes(rules)
        self.decider = Decider(rules, clock=lambda: 5.0, chance=self._chance)
        self.learner = Learner(rules, clock=lambda: 6.0)

    async def decide(self, loop: str, *, deferred: bool = False) -> str:
        candidates = [Candidate(name, {"size": self._chance.random()}) for name in "abc"]
        context = Context({"mood": self._chance.random()}, {})
        asked = Asked(user_id="u", loop=loop, context=context, candidates=candidates, deferred=deferred)
        return (await self.maker.make(asked)).id

    async def anything(self, made: list[str]) -> None:
        """One of the things that may happen, by chance."""
        chance, told = self._chance, Told(reward=self._chance.random())
        what = chance.randrange(16)
        if what < 4 or not made:
            made.append(await self.decide(chance.choice(LOOPS), deferred=what < 2))
        elif what == 4:
            await self.decider.decide("egreedy-v1", "u", CONTEXT, CANDIDATES[:3])
        elif what == 5:
            await self.learner.learn(
                "linucb-v1", "u", context=CONTEXT, features=CANDIDATES[1].features, reward=chance.random()
            )
        elif what in (6, 13, 14, 15):
            self.time.turn(seconds=WINDOW_SECONDS / 4)
        else:
            act: Any = chance.choice(
                (
                    lambda whole: self.outcomes.reward(whole, told),
                    lambda whole: self.outcomes.correct(whole, told),
                    lambda whole: self.outcomes.retract(whole, Told()),
                    self.outcomes.activate,
                    self.outcomes.cancel,
                    lambda whole: self.outcomes.reward(whole, Told(reward=0.25, part=f"p{chance.randrange(3)}")),
                )
            )
            with suppress(NotKnown, Gone, Unfit, Refused):  # what does not fit must change nothing
                await act(chance.choice(made[-6:]))

    async def lines(self) -> list[Line]:
        found = [decode(one.line) async for page in self.store.outbox.left(10**15) for one in page]
        return sorted(found, key=lambda line: line.seq)

    async def held(self) -> Held:
        """What Redis holds."""
        fields = await self.store.read(keys.shared("u"), decision.SHARED)
        user = decision.decode_user("u", list(fields), b"")
        models = {}
        for name, own in OWN.items():
            found = record.decode(
                "m", len(own.columns.pairs), await self.store.read(keys.record("u", name), record.FIELDS)
            )
            if found is not None:
                models[name] = (found, own.columns)
        return Held(user.epoch.decode(), user.seq, models)

    async def agrees(self) -> bool:
        """Whether the log tells of each model to the last bit."""
        lines = await self.lines()
        epoch = Epoch("u", lines[0].epoch, COLUMNS.get)
        for line in lines:
            epoch.take(line)
        found = verdict("u", [epoch], await self.held())
        assert (found.what, found.why) == ("agrees", ())
        assert sorted(epoch.models) == sorted((await self.held()).models)
        return True


@pytest.fixture
async def store() -> AsyncIterator[Twice]:
    async with stored() as store:
        yield store


@pytest.mark.slow
@pytest.mark.parametrize("before", [False, True])
async def test_the_log_tells_of_every_change(store: Twice, before: bool) -> None:
    """Whatever happens, all models can be computed from the lines to the last bit; the numbers of lines have no gap.
    What happened before the log is told of at its begin, and later outcomes of older decisions are whole."""
    with clock() as time:
        scene = Scene(store, time, logs=not before)
        made: list[str] = []
        if before:
            for _ in range(60):
                await scene.anything(made)
            assert await scene.lines() == []
            scene.logs(True)
        for _ in range(240):
            await scene.anything(made)
        assert await scene.agrees()
        lines = await scene.lines()
    assert [line.seq for line in lines] == list(range(lines[0].seq, lines[-1].seq + 1))
    assert lines[0].seq == 1 or before
    assert {type(line) for line in lines} == {Decision, Outcome, State}
    told = {line.what for line in lines if isinstance(line, Outcome)}
    assert told >= {"applied", "default", "early", "corrected", "retracted", "activated", "cancelled", "expired"}
    assert isinstance(lines[0], State) == before
    assert all(first.writes == second.writes for first, second in store.changes)


@pytest.mark.slow
async def test_the_log_tells_of_canaries(store: Twice) -> None:
    """Also while who serves changes all the time: the counters of each policy count what it served, and the lines say
    who it was, beside whom, and under which state."""
    stages = [
        Stage(1, "serves", Canary("watches", 0.5)),
        Stage(2, "watches", Canary("fades", 0.25)),
        Stage(3, "fades"),
        Stage(4, "egreedy-v1", Canary("serves", 0.5)),
    ]
    with clock() as time:
        scene = Scene(store, time, logs=True)
        made: list[str] = []
        for turn in range(240):
            if turn % 10 == 0:
                stage = stages[turn // 10 % 4]
                scene.states = {loop: Standing(9, "e", "n", stage) for loop in LOOPS}
            await scene.anything(made)
        assert await scene.agrees()
        lines = [line for line in await scene.lines() if isinstance(line, Decision)]
    told = {(line.state, line.arm, line.policy, line.champion, line.canary, line.share) for line in lines}
    assert told == {
        (1, "champion", "serves", "", "watches", 0.5),
        (1, "canary", "watches", "serves", "watches", 0.5),
        (2, "champion", "watches", "", "fades", 0.25),
        (2, "canary", "fades", "watches", "fades", 0.25),
        (3, "champion", "fades", "", "", 0.0),
        (4, "champion", "egreedy-v1", "", "serves", 0.5),
        (4, "canary", "serves", "egreedy-v1", "serves", 0.5),
    }
    for line in lines:
        by_policy, champion = line.by_policy, line.champion or line.policy
        other = by_policy.get(line.canary, by_policy[champion])
        mixed = [(1 - line.share) * c + line.share * e for c, e in zip(by_policy[champion], other, strict=True)]
        assert line.propensities == (mixed if line.canary else by_policy[champion])


async def test_a_log_that_was_off_for_a_while(store: Twice) -> None:
    """It begins anew with what is there then."""
    with clock() as time:
        scene = Scene(store, time, logs=True)
        whole = await scene.decide("plain")
        scene.logs(False)
        await scene.outcomes.reward(whole, Told(reward=1.0))
        await scene.decide("plain")
        scene.logs(True)
        await scene.outcomes.correct(whole, Told(reward=2.0))
        lines = await scene.lines()
        assert [line.seq for line in lines] == [1, 4, 5]
        begun = lines[1]
        assert isinstance(begun, State)
        assert (begun.what, sorted(begun.models)) == ("begun", ["fades", "serves", "watches"])
        assert await scene.agrees()


async def test_what_a_line_says(store: Twice) -> None:
    """Of a decision all that it was made of and all propensities, of an outcome what was told and what stands."""
    with clock() as time:
        scene = Scene(store, time, logs=True)
        whole = await scene.decide("sums")
        await scene.outcomes.reward(whole, Told(reward=0.5, part="a"))
        await scene.outcomes.reward(whole, Told(reward=0.25, part="b"))
        with pytest.raises(Refused):
            await scene.outcomes.reward(whole, Told(reward=0.125, part="b"))
        made, first, second = await scene.lines()
        assert isinstance(made, Decision)
        assert isinstance(first, Outcome)
        assert isinstance(second, Outcome)
        kept = (await scene.outcomes.read(whole))[0]
    assert (made.id, made.loop, made.policy, made.arm) == (whole, "sums", "serves", "champion")
    assert [one.id for one in made.candidates] == ["a", "b", "c"]
    assert all(set(one.features) == {"size"} for one in made.candidates)
    assert (set(made.context), made.user_features) == ({"mood"}, {})
    assert sorted(made.by_policy) == sorted(made.versions) == ["fades", "serves", "watches"]
    assert made.propensities == kept.propensities
    assert (made.window_s, made.default_reward, made.deferred, made.ts) == (
        3_600,
        None,
        False,
        "2027-01-15T08:00:00.000Z",
    )
    assert (first.born, first.n, first.reward, first.total, first.was, first.part) == (1, 1, 0.5, 0.5, None, "a")
    assert (second.n, second.reward, second.total, second.was, second.part) == (2, 0.25, 0.75, 0.5, "b")
    assert second.learned == ["serves", "watches", "fades"]
    assert msgspec.structs.asdict(first)["x"] is None
