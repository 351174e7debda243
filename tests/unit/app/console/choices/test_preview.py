"""What would be decided: the same as what is decided then, and nothing is written for it."""

import random

import msgspec
import pytest

from app.bandit.context import Context
from app.bandit.sample import SEED_BITS
from app.console.choices.preview import Preview
from app.decisions.errors import BadDecision
from app.decisions.make import Maker
from app.decisions.outcome import Outcomes, Told
from app.ledger.rules import Rules
from app.policies.catalog import catalog
from tests.support.decisions import POLICIES, clock
from tests.unit.app.decisions.scene import stored
from tests.unit.app.decisions.test_make import asked

pytestmark = pytest.mark.anyio

CATALOG = catalog(POLICIES)


async def no_pause() -> None: ...


async def test_it_is_what_a_decision_would_be_and_nothing_is_written() -> None:
    """Also where a default reward is due, which the decision books and the preview only sees, and with a log."""
    async with stored() as store:
        rules = msgspec.structs.replace(Rules.of(store, CATALOG, 1_000), logs=True)
        maker, preview = Maker(rules, chance=random.Random(4)), Preview(rules)
        with clock() as time:
            first = await maker.make(asked(loop="books"))
            await Outcomes(rules).reward(first.id, Told(reward=1.0))
            await maker.make(asked(loop="books"))
            time.turn(seconds=3_601)
            before = len(store.changes)
            seed = random.Random(9).getrandbits(SEED_BITS)
            found, explained = await preview.decide(asked(loop="books"), seed)
            assert [change.writes for pair in store.changes[before:] for change in pair] == [(), ()]
            made = await Maker(rules, chance=random.Random(9)).make(asked(loop="books"))
    assert (found.propensities, found.chosen, found.score) == (
        made.record.propensities,
        made.record.chosen,
        made.record.score,
    )
    assert found.evidence == made.record.evidence
    assert [part.score for part in explained.candidates][found.chosen] == found.score


async def test_across_values_of_a_field() -> None:
    """One policy alone, once for each value; what is excluded has no row, and a pause comes before each."""
    paused: list[None] = []

    async def pause() -> None:
        paused.append(None)

    async with stored() as store:
        rules = Rules.of(store, CATALOG, 1_000)
        policy = CATALOG.policies["serves"]
        for _ in range(8):
            made = await Maker(rules).make(asked(context=Context({"mood": 1.0}, {})))
            await Outcomes(rules).reward(made.id, Told(reward=2.0))
        before = len(store.changes)
        rows = await Preview(rules).across(
            asked(excluded=["b"]), policy, "mood", values=[0.0, 0.5, 1.0], seed=7, pause=pause
        )
        assert [change.writes for pair in store.changes[before:] for change in pair] == [(), ()]
    assert (len(paused), [row.value for row in rows]) == (3, [0.0, 0.5, 1.0])
    low, middle, high = (row.scores[0] for row in rows)
    assert low < middle < high  # mood*size has learned
    assert all(len(row.scores) == 2 and sum(row.propensities) == pytest.approx(1.0) for row in rows)


async def test_what_cannot_be_decided() -> None:
    """It is refused as the decision would be."""
    async with stored() as store:
        preview = Preview(Rules.of(store, CATALOG, 1_000))
        for wrong in (asked(loop="nosuch"), asked(excluded=["z"])):
            with pytest.raises(BadDecision):
                await preview.decide(wrong, 1)
            with pytest.raises(BadDecision):
                await preview.across(wrong, CATALOG.policies["serves"], "mood", values=[1.0], seed=1, pause=no_pause)
