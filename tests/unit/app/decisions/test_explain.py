"""An explanation gives the answered score again, to the last bit, when the model has long moved on."""

import random

import msgspec
import pytest

from app.bandit.context import Context
from app.decisions.asked import Asked
from app.decisions.decide import Candidate
from app.decisions.make import Maker
from app.decisions.outcome import Outcomes
from app.decisions.told import Told
from app.ledger.rules import Rules
from app.policies.catalog import catalog
from app.policies.plan import Plans
from state.values.loop import Canary, Stage, Standing
from tests.unit.app.decisions.scene import Twice, stored

pytestmark = pytest.mark.anyio

EXPLORERS = {
    "epsilon": 'by = "epsilon", epsilon = 0.3',
    "linucb": 'by = "linucb", alpha = 0.7, floor = 0.1',
    "thompson": 'by = "thompson", scale = 0.4, floor = 0.1',
    "igw": 'by = "igw", sharpness = 3.0',
}
FILE = """
[features]
price = {{ of = "candidate", kind = "number", min = 0, max = 10 }}
kind = {{ of = "candidate", kind = "category", values = ["a", "b"] }}

[policies.p]
columns = ["1", "price", "price*price"]
cross = [["1", "hour"], ["1", "price", "kind"]]
explore = {{ {explore} }}

[loops.own]
champion = "p"
"""


def parts(store: Twice, explore: str) -> tuple[Maker, Outcomes]:
    known = catalog(FILE.format(explore=explore))
    rules = Rules.of(store, known, 3_600_000)
    return Maker(rules, chance=random.Random(5)), Outcomes(rules)


def asked(number: int, loop: str = "own") -> Asked:
    """The third candidate is the same as the first; the last must not be chosen."""
    features = [(7 * number % 10, "a"), (3 * number % 10, "b"), (7 * number % 10, "a"), (5, "c"), (9, "a")]
    return Asked(
        user_id="u",
        loop=loop,
        context=Context({"hour_of_day": number % 24}),
        candidates=[Candidate(str(place), {"price": p, "kind": k}) for place, (p, k) in enumerate(features)],
        excluded=["4"],
        local=f"d{number}",
    )


@pytest.mark.parametrize("explore", EXPLORERS.values(), ids=EXPLORERS)
async def test_the_score_again_bit_by_bit(explore: str) -> None:
    """For every explorer, with equal candidates and one that was excluded."""
    labels = list(catalog(FILE.format(explore=explore)).policies["p"].labels)
    async with stored() as store:
        maker, outcomes = parts(store, explore)
        for number in range(40):
            made = await maker.make(asked(number))
            await outcomes.reward((await maker.make(asked(1_000 + number))).id, Told(reward=(-1.0) ** number))
            record, explained = await outcomes.read(made.id)
            assert explained is not None
            assert [part.id for part in explained.candidates] == ["0", "1", "2", "3"]
            [score] = [part.score for part in explained.candidates if part.id == record.ids[record.chosen]]
            assert score == made.record.score
            first, _, third, _ = explained.candidates
            assert (first.score, first.propensity) == (third.score, third.propensity)
            for part in explained.candidates:
                assert sum(part.contributions) + part.bonus == pytest.approx(part.score, abs=1e-12)
            assert explained.columns == labels


@pytest.mark.parametrize("loop", ["tips"])
async def test_policies_of_the_first_system(loop: str) -> None:
    """Their scores come from the same arithmetic as before, and so do their explanations."""
    async with stored() as store:
        maker, outcomes = parts(store, EXPLORERS["epsilon"])
        for number in range(20):
            made = await maker.make(asked(number, loop))
            record, explained = await outcomes.read(made.id)
            assert explained is not None
            [score] = [part.score for part in explained.candidates if part.id == record.ids[record.chosen]]
            assert score == made.record.score
            await outcomes.reward(made.id, Told(reward=1.0))
            assert (await outcomes.read(made.id))[1] is None


async def test_the_runner_up() -> None:
    """It is the best of the others; a single candidate has none."""
    async with stored() as store:
        maker, outcomes = parts(store, EXPLORERS["igw"])
        one = Asked(user_id="u", loop="own", context=Context(), candidates=[Candidate("a", {})], local="one")
        _, explained = await outcomes.read((await maker.make(one)).id)
        assert explained is not None
        assert (explained.runner_up, explained.margin) == (None, None)
        record, explained = await outcomes.read((await maker.make(asked(3))).id)
        assert explained is not None
        others = [part for part in explained.candidates if part.id != record.ids[record.chosen]]
        assert explained.margin == record.score - max(part.score for part in others)


async def test_a_canary_is_explained_by_its_own_model() -> None:
    """Whichever of the two decided: the score is that of its columns and weights; the propensities are the mixture."""
    added = '[policies.q]\ncolumns = ["1", "price", "kind"]\nexplore = { by = "linucb", alpha = 0.7, floor = 0.2 }\n'
    known = catalog(FILE.format(explore=EXPLORERS["epsilon"]) + 'shadows = ["q"]\n' + added)
    states = {"own": Standing(2, "e", "n", Stage(2, "p", Canary("q", 0.5)))}
    seen = set()
    async with stored() as store:
        rules = msgspec.structs.replace(Rules.of(store, known, 3_600_000), plans=Plans(lambda: known, lambda: states))
        maker, outcomes = Maker(rules, chance=random.Random(5)), Outcomes(rules)
        for number in range(30):
            made = await maker.make(asked(number))
            record, explained = await outcomes.read(made.id)
            assert explained is not None
            seen.add((record.policy, record.by_canary))
            assert explained.columns == list(known.policies[record.policy].labels)
            [chosen] = [part for part in explained.candidates if part.id == record.ids[record.chosen]]
            assert chosen.score == made.record.score
            assert chosen.propensity == record.propensities[record.chosen]
            own, other = (each.propensities[record.chosen] for each in record.by_policy)
            assert chosen.propensity == 0.5 * own + 0.5 * other
            await outcomes.reward(made.id, Told(reward=(-1.0) ** number))
            learned = (await outcomes.read(made.id))[0].learned
            assert [(each.policy, each.updates) for each in learned] == [("p", number + 1), ("q", number + 1)]
    assert seen == {("p", False), ("q", True)}
