"""A user's statistics and history, and how they go."""

import random

import numpy as np
import pytest

from app.decisions.decide import Decider
from app.decisions.outcome import Outcomes
from app.decisions.reward import Learner
from app.decisions.told import Told
from app.decisions.users import Statistics, Users
from app.events.sync import Sync
from app.learning.models import Models
from app.learning.priors import Priors
from app.policies.catalog import policies
from state import keys
from state.errors import CorruptState
from state.values import record
from state.values.record import Meta
from tests.support.decided import made, rules, shifted
from tests.unit.app.bandit.samples import task
from tests.unit.app.decisions.scene import CANDIDATES, CONTEXT, NOW, Twice, ask, rules_of, stored

pytestmark = pytest.mark.anyio

ROWS = policies()


async def serve(store: Twice, policy: str = "egreedy-v1", *, key: str | None = None) -> None:
    """A decision and its reward."""
    decider = Decider(rules_of(store, ROWS), clock=lambda: NOW, chance=random.Random(1))
    await decider.decide(policy, "u", CONTEXT, CANDIDATES)
    once = (key, b"r") if key else None
    await Learner(rules_of(store, ROWS), clock=lambda: NOW).learn(
        policy, "u", context=CONTEXT, features=task(is_overdue=True), reward=0.5, once=once
    )


async def test_statistics() -> None:
    """Counters as they were counted, theta by the policy's labels; of a new user zeros."""
    async with stored() as store:
        users = Users(store, Models(store, ROWS), ROWS, Priors(store.shared, ROWS))
        new = await users.statistics("egreedy-v1", "u")
        assert (new.meta, new.theta, new.mean_reward, new.exploration_rate) == (Meta(), [0.0] * 7, 0.0, 0.0)
        await serve(store)
        known = await users.statistics("egreedy-v1", "u")
        assert (await users.statistics("linucb-v1", "u")).meta == Meta()
    assert (known.meta.pulls, known.meta.reward_count, known.mean_reward) == (1, 1, 0.5)
    theta = dict(zip(known.policy.labels, known.theta, strict=True))
    assert theta["is_overdue"] > 0


def test_rates() -> None:
    """The mean is over rewards, the rate over decisions."""
    one = Statistics(ROWS["egreedy-v1"], Meta(pulls=8, explore_count=2, reward_count=4, cumulative_reward=-1.0), [])
    assert (one.mean_reward, one.exploration_rate) == (-0.25, 0.25)


async def test_a_damaged_model_is_named() -> None:
    """Also where it is only shown."""
    key = keys.record("u", "linucb-v1")
    async with stored() as store:
        await ask(store, "HSET", key, "A", bytes(200), "b", bytes(40), "meta", bytes(40))
        with pytest.raises(CorruptState, match=r"oo:\{u\}:linucb-v1: "):
            await Users(store, Models(store, ROWS), ROWS, Priors(store.shared, ROWS)).statistics("linucb-v1", "u")


async def test_a_reset_keeps_keys_and_sync() -> None:
    """Models and history go; a reward that is sent again is still a replay."""
    async with stored() as store:
        users = Users(store, Models(store, ROWS), ROWS, Priors(store.shared, ROWS))
        for policy in ROWS:
            await serve(store, policy, key="k")
        await Sync(store).synced("u", {"a": "1"}, 1.0)
        assert len(await users.history("u")) == 3
        await users.reset("u")
        assert await users.history("u") == []
        assert [(await users.statistics(policy, "u")).meta.pulls for policy in ROWS] == [0, 0, 0]
        await serve(store, key="k")
        found = await users.statistics("egreedy-v1", "u")
        assert (found.meta.pulls, found.meta.reward_count) == (1, 0)
        assert await store.read(keys.sync("u"), (b"a",)) == [b"1"]


async def test_what_each_policy_learned() -> None:
    """Of each policy that has a model: theta as in the statistics, and the standard error of each column."""
    async with stored() as store:
        users = Users(store, Models(store, ROWS), ROWS, Priors(store.shared, ROWS))
        assert await users.learned("u") == []
        await serve(store)
        [one] = await users.learned("u")
        known = await users.statistics("egreedy-v1", "u")
        values = await store.read(keys.record("u", "egreedy-v1"), record.FIELDS)
    assert (one.policy, one.meta, one.theta) == (known.policy, known.meta, known.theta)
    found = record.decode("", 7, values)
    assert found is not None
    assert one.errors == pytest.approx(np.sqrt(np.diag(np.linalg.inv(found.a))))
    assert min(one.errors) < 1.0


async def test_open_decisions() -> None:
    """Those without an outcome, oldest first; none after a reset, which takes them out of the index too."""
    store = shifted("memory://")
    users = Users(store, rules(store).models, ROWS, Priors(store.shared, ROWS))
    assert await users.open("u") == []
    first, second, third = await made(store, "u", "z", "y", "x")
    await Outcomes(rules(store)).reward(second.id, Told(reward=1.0))
    assert await users.open("u") == [("z", first.record), ("x", third.record)]
    assert await ask(store, "ZCARD", keys.due(None)) == 1
    await users.reset("u")
    assert await users.open("u") == []
    assert await ask(store, "EXISTS", keys.due(None), *(keys.of("u", kind) for kind in ("u", "d", "t"))) == 0
    await made(store, "u", "z")
    names = {keys.of("u", kind) for kind in ("u", "d", "t")}
    assert names < set(await users.erase("u"))
    assert await ask(store, "EXISTS", keys.due(None), *names) == 0
    await store.close()


async def test_an_erasure_keeps_nothing() -> None:
    """Every key of the user goes, and is named."""
    async with stored() as store:
        users = Users(store, Models(store, ROWS), ROWS, Priors(store.shared, ROWS))
        await serve(store, key="k")
        await Sync(store).synced("u", {"a": "1"}, 1.0)
        names = ["egreedy-v1", "egreedy-v1:once:k", "history", "once", "sync"]
        assert await users.erase("u") == [keys.of("u", kind) for kind in names]
        assert await users.erase("u") == []
        await serve(store, key="k")
        assert (await users.statistics("egreedy-v1", "u")).meta.reward_count == 1
