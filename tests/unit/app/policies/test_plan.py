"""How a loop decides: its policies over shared base columns."""

import random

import msgspec
import numpy as np
import pytest

from app.bandit.context import Context
from app.bandit.policy import Damaged
from app.bandit.sample import SEED_BITS
from app.evaluation.tails import chi_square_tail, normal_tails
from app.policies.catalog import catalog
from app.policies.plan import Plans, stage_of
from state.values.loop import Canary, Stage, Standing
from tests.support.decisions import POLICIES

CATALOG = catalog(POLICIES)
PLAN = Plans(lambda: CATALOG)["plain"]
LOOP = CATALOG.loops["plain"]


def staged(*stages: Stage) -> Standing:
    return Standing(9, "e", "n", stages[0], list(stages[1:]))


def test_each_policy_sees_its_own_columns() -> None:
    """From one encoding for all, the same as by itself; the champion is the first."""
    context = Context({"mood": 1}, {})
    candidates = [{"size": 0.5, "side": 1.0}, {}]
    base, _ = PLAN.encoder.encode(context, candidates)
    assert [policy.id for policy in PLAN.policies] == ["serves", "watches", "fades"]
    for policy, columns in zip(PLAN.policies, PLAN.columns, strict=True):
        assert np.array_equal(columns.of(base), policy.see(context, candidates))


def test_odds_of_each_policy() -> None:
    """In the order of the policies: those that each would give by itself."""
    context, candidates = Context({"mood": 1}, {}), [{"size": 0.5, "side": 1.0}, {}]
    base, _ = PLAN.encoder.encode(context, candidates)
    models = [policy.prior() for policy in PLAN.policies]
    [found] = PLAN.odds([(models, base, 3, None)])
    assert PLAN.ids == ("serves", "watches", "fades")
    assert not isinstance(found, Damaged)
    for policy, odds in zip(PLAN.policies, found, strict=True):
        assert odds.propensities == policy.odds(*policy.prior(), policy.see(context, candidates), 3).propensities


def test_what_no_feature_reads() -> None:
    """By where it stands."""
    fields = {"mood": 1, "size": 2, "b": 3, "a": 4}
    assert PLAN.unknown("context", fields) == ["a", "b", "size"]
    assert PLAN.unread.decisions == 0
    assert PLAN.unknown("candidate", fields) == ["a", "b", "mood"]
    assert PLAN.unknown("user", fields) == ["a", "b", "mood", "size"]
    assert PLAN.reads_all(Context({"mood": 1}, {}), [{"size": 1}, {}])
    for context, candidate in ((Context({"size": 1}), {}), (Context({}, {"mood": 1}), {}), (Context(), {"mood": 1})):
        assert not PLAN.reads_all(context, [{}, candidate])


def test_the_policies_of_all_loops() -> None:
    """By name, also those that a state brings in, as long as it does."""
    states = [{"plain": staged(Stage(1, "egreedy-v1"))}, {}]
    some = msgspec.structs.replace(CATALOG, loops={"plain": LOOP, "books": LOOP})
    plans = Plans(lambda: some, lambda: states[0])
    assert list(plans.policies) == ["egreedy-v1", "fades", "serves", "watches"]
    states.pop(0)
    assert list(plans.policies) == ["fades", "serves", "watches"]


def test_who_serves() -> None:
    """What the state says; with a policy that is not there the stage before; without a state the file."""
    first, second = Stage(1, "watches"), Stage(2, "serves", Canary("fades", 0.1))
    assert stage_of(LOOP, None, CATALOG.policies) == Stage(0, "serves")
    assert stage_of(LOOP, staged(second, first), CATALOG.policies) == second
    some = {name: CATALOG.policies[name] for name in ("serves", "watches")}
    assert stage_of(LOOP, staged(second, first), some) == first
    assert stage_of(LOOP, staged(second, first), {"serves": some["serves"]}) == Stage(0, "serves")


@pytest.mark.parametrize(
    ("stage", "order"),
    [
        (Stage(1, "serves"), ["serves", "watches", "fades"]),
        (Stage(1, "serves", Canary("fades", 0.1)), ["serves", "fades", "watches"]),
        (Stage(1, "fades"), ["fades", "serves", "watches"]),
        (Stage(1, "fades", Canary("serves", 0.1)), ["fades", "serves", "watches"]),
        # What another loop of the file has: the file's own stay shadows.
        (Stage(1, "egreedy-v1"), ["egreedy-v1", "serves", "watches", "fades"]),
    ],
)
def test_the_file_s_policies_stay_shadows(stage: Stage, order: list[str]) -> None:
    """Each policy is there once: the champion, the canary, then the others; columns and encoder fit them."""
    states = {"plain": staged(stage)}
    plan = Plans(lambda: CATALOG, lambda: states)["plain"]
    assert [policy.id for policy in plan.policies] == order
    assert plan.stage == stage
    context, candidates = Context({"mood": 1}, {}), [{"size": 0.5, "side": 1.0}, {}]
    base, _ = plan.encoder.encode(context, candidates)
    for policy, columns in zip(plan.policies, plan.columns, strict=True):
        assert np.array_equal(columns.of(base), policy.see(context, candidates))


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_arms_and_choices_follow_the_propensities(share: float) -> None:
    """The arm is drawn by its share and apart from the choice: both together are what the propensities of each say,
    and the choices alone what the mixture says (chi-square at odds of 1e-9)."""
    states = {"plain": staged(Stage(3, "serves", Canary("watches", share)))}
    plan = Plans(lambda: CATALOG, lambda: states)["plain"]
    base, _ = plan.encoder.encode(Context({"mood": 1}, {}), [{"size": 0.5, "side": 1.0}, {}, {"size": 1.0}])
    theta = {"serves": [0.0, 1.0, 0.0, 0.0], "watches": [0.0, -1.0, 0.0]}
    pairs = list(zip(plan.policies[:2], plan.columns, strict=False))
    both = [
        policy.odds(policy.prior()[0], np.array(theta[policy.id]), columns.of(base), 0) for policy, columns in pairs
    ]
    assert both[0].propensities != both[1].propensities
    chance, n = random.Random(11), 20_000
    counts = np.zeros((2, 3))
    for _ in range(n):
        seed = chance.getrandbits(SEED_BITS)
        arm = plan.drawn(seed)
        counts[arm, plan.policies[arm].draw(both[arm], seed).index] += 1
    expected = n * np.array([[1 - share], [share]]) * [odds.propensities for odds in both]
    assert chi_square_tail(float(((counts - expected) ** 2 / expected).sum()), 5) > 1e-9
    mixture = n * np.array(plan.mixed([odds.propensities for odds in both]))
    assert chi_square_tail(float(((counts.sum(axis=0) - mixture) ** 2 / mixture).sum()), 2) > 1e-9
    # Loops draw apart: a canary of another loop has no part in it.
    other = msgspec.structs.replace(plan, loop=CATALOG.loops["books"])
    together = sum(plan.drawn(seed) * other.drawn(seed) for seed in range(n))
    deviation = (n * share**2 * (1 - share**2)) ** 0.5
    assert normal_tails((together - n * share**2) / deviation) > 1e-9


def test_a_mixture_is_never_above_one() -> None:
    """Rounding leaves what is certain certain, and no part below the champion's."""
    chance = random.Random(3)
    for _ in range(2_000):
        share, own, other = chance.uniform(1e-9, 0.5), chance.random(), chance.random()
        stage = Stage(3, "serves", Canary("watches", share))
        mixed = msgspec.structs.replace(PLAN, stage=stage).mixed([[1.0, own], [1.0, other]])
        assert mixed[0] <= 1.0
        assert mixed[1] >= (1.0 - share) * own


def test_counts_of_what_is_unread_survive_a_change_of_state() -> None:
    """Not a change of the file."""
    states: list[dict[str, Standing]] = [{}]
    files = [CATALOG]
    plans = Plans(lambda: files[0], lambda: states[0])
    counts = plans["plain"].unread
    states[0] = {"plain": staged(Stage(1, "fades"))}
    assert (plans["plain"].policies[0].id, plans["plain"].unread) == ("fades", counts)
    files[0] = catalog(POLICIES)
    assert plans["plain"].unread is not counts
