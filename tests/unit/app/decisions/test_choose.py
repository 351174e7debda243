"""What each slot may take: never what another has, and never what a later one cannot do without."""

import random
from itertools import permutations

import msgspec
import numpy as np
import pytest

from app.bandit.context import Context
from app.decisions.asked import Asked, Conditions
from app.decisions.choose import Free, agrees
from app.decisions.decide import Candidate
from app.decisions.errors import BadDecision
from app.decisions.make import Maker
from app.decisions.outcome import Outcomes, Told
from app.learning.models import Models
from app.ledger.rules import Rules
from app.policies.catalog import catalog
from state.values.decision import Terms
from tests.support.decisions import POLICIES
from tests.unit.app.decisions.scene import stored
from tests.unit.state.values.test_decision import RECORD


@pytest.mark.parametrize(
    ("allowed", "taken", "free"),
    [
        ([[0, 1, 2]], [], [0, 1, 2]),
        ([[0, 1, 2], [0, 1, 2]], [1], [0, 2]),
        ([[0, 1], [0]], [], [1]),
        ([[0, 1, 2], [0, 1], [1]], [], [2]),
        ([[0, 1, 2], [0, 1], [1]], [2], [0]),
        ([[2, 0], [1, 2], [1]], [], [0]),
        ([[0], [1], [2]], [0], [1]),
    ],
)
def test_what_is_free(allowed: list[list[int]], taken: list[int], free: list[int]) -> None:
    """In the order of the candidates' places, after the first slots took theirs."""
    found = Free(allowed)
    for slot, place in enumerate(taken):
        assert place in found.of(slot)
        found.take(place)
    assert found.of(len(taken)) == free


def test_what_cannot_be_filled() -> None:
    """Fewer candidates than slots, or two slots that allow only the same one."""
    for allowed in ([[0], [0]], [[0, 1], [0, 1], [0, 1]], [[0, 1, 2], [2], [2]]):
        with pytest.raises(BadDecision, match="not enough candidates for all"):
            Free(allowed)


def test_exactly_what_leaves_the_others_one() -> None:
    """By comparison with all ways to fill the slots, for slots with any exclusions."""
    chance = random.Random(5)
    filled = 0
    for _ in range(150):
        slots, places = chance.randint(1, 4), chance.randint(1, 5)
        allowed = [sorted(chance.sample(range(places), chance.randint(1, places))) for _ in range(slots)]
        ways = [
            way
            for way in permutations(range(places), slots)
            if all(place in own for place, own in zip(way, allowed, strict=True))
        ]
        if not ways:
            with pytest.raises(BadDecision):
                Free(allowed)
            continue
        found = Free(allowed)
        done: list[int] = []
        for slot in range(slots):
            free = found.of(slot)
            assert free == sorted({way[slot] for way in ways if list(way[:slot]) == done})
            done.append(chance.choice(free))
            found.take(done[-1])
        filled += 1
    assert filled > 50


# Choosing what others chose

TERMS = Terms(-1.0, 1.0, None, discards=True, adds=False)
SHOWN = Conditions(TERMS, 60_000, teaches=False, shown={"": "b"})


@pytest.mark.parametrize(
    ("chosen", "alone", "found"),
    [(0, [0.9, 0.1], True), (1, [0.9, 0.1], False), (0, [0.5, 0.5], False), (0, [1.0], True), (1, [0.0, 1.0], True)],
)
def test_agrees(chosen: int, alone: list[float], found: bool) -> None:
    """If nothing else is as likely."""
    assert agrees(msgspec.structs.replace(RECORD, chosen=chosen), alone) == found


@pytest.mark.anyio
async def test_a_mistake_teaches_and_nothing_else_does() -> None:
    """What was shown 1 and the policy's own choice 0; then it agrees and is left alone, and no outcome teaches it."""
    known = catalog(POLICIES + '[loops.mine]\nchampion = "watches"\n')
    candidates = [Candidate("a", {"size": 0.0}), Candidate("b", {"size": 1.0})]
    asked = Asked(user_id="u", loop="mine", context=Context({}, {}), candidates=candidates)
    policy = known.policies["watches"]
    async with stored() as store:
        rules = Rules.of(store, known, 0)
        maker, models = Maker(rules, chance=random.Random(1)), Models(store, known.policies)
        made = [await maker.make(asked, conditions=SHOWN) for _ in range(6)]
        await Outcomes(rules).reward(made[0].id, Told(reward=1.0))
        model = await models.read(policy, "u")
    agreed = [agrees(each.record, each.record.by_policy[0].propensities) for each in made]
    assert [each.record.propensities for each in made] == [[0.0, 1.0]] * 6
    mistakes = agreed.count(False)
    assert agreed == [False] * mistakes + [True] * (6 - mistakes)
    a, b = policy.see(Context({}, {}), [each.features for each in candidates])
    # The baseline of this policy is 1: a reward of 1 adds nothing, one of 0 takes its columns off.
    assert model.b.tolist() == (-mistakes * a).tolist()
    assert np.array_equal(model.a, np.eye(policy.d) + mistakes * (np.outer(a, a) + np.outer(b, b)))
    assert model.meta.reward_count == 2 * mistakes
