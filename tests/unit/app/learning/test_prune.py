"""Pruning: unused columns go, and what the others learned stays to the last bit."""

import numpy as np
import pytest

from app.bandit.policy import Policy
from app.learning.models import Models
from app.learning.prune import Pruner
from state import keys
from state.errors import CorruptState
from tests.unit.app.decisions.scene import NOW, Twice, ask, stored
from tests.unit.app.learning.test_models import by_name, learn, policy

pytestmark = pytest.mark.anyio


def pairs(row: Policy, *labels: str) -> list[tuple[str, str]]:
    return [pair for pair in zip(row.labels, row.definitions, strict=True) if pair[0] in labels]


async def prune(store: Twice, row: Policy, *labels: str, dry_run: bool = False) -> int:
    wide = policy("one", "two", "three")
    return await Pruner(store, {"p": row}, {"p": pairs(wide, *labels)}).prune("u", dry_run=dry_run)


async def test_unused_columns_go() -> None:
    """And nothing else: a model that never had them is the same. Pruning again changes nothing."""
    rewards = np.random.default_rng(1).uniform(-1, 1, (20, 4)).tolist()
    async with stored() as store, stored() as plain:
        for reward, one, two, three in rewards:
            await learn(store, policy("one", "two", "three"), reward, one=one, two=two, three=three)
            await learn(plain, policy("one", "three"), reward, one=one, three=three)
        assert await prune(store, policy("one", "three"), "two", dry_run=True) == 1
        assert list((await by_name(store))[0]) == ["one", "two", "three"]
        assert await prune(store, policy("one", "three"), "two") == 1
        sums, found = await by_name(store)
        kept, expected = await by_name(plain)
        assert sums == kept
        assert found.a.tobytes() == expected.a.tobytes()
        assert (found.meta, found.columns) == (expected.meta, expected.columns)
        assert await prune(store, policy("one", "three"), "two") == 0
        await learn(store, policy("two", "one"), 1.0, one=0.5, two=0.5)
        assert list((await by_name(store))[0]) == ["one", "three", "two"]


async def test_a_model_without_any_other_column_begins_anew() -> None:
    """With the columns of the file and its counters."""
    async with stored() as store:
        await learn(store, policy("one", "two"), 1.0, one=0.5, two=0.5)
        assert await prune(store, policy("three"), "one", "two") == 1
        sums, found = await by_name(store)
    assert (sums, found.a.tolist(), found.meta.reward_count) == ({"three": 0.0}, [[1.0]], 1)


async def test_users_without_models_are_left() -> None:
    """So are models of the first version, whose columns have no names."""
    async with stored() as store:
        assert await prune(store, policy("one"), "two") == 0
        assert await ask(store, "EXISTS", keys.record("u", "p")) == 0


async def test_damage_is_named() -> None:
    """Columns that nobody knows, and a model that lacks a part."""
    async with stored() as store:
        await learn(store, policy("one", "two"), 1.0, one=0.5, two=0.5)
        key = keys.record("u", "p")
        await ask(store, "HDEL", key, "A", "b", "meta")
        with pytest.raises(CorruptState, match="field A, b, meta is missing"):
            await prune(store, policy("one"), "two")
        await ask(store, "DEL", "oo:columns")
        with pytest.raises(CorruptState, match="names unknown columns"):
            await prune(store, policy("one"), "two")


@pytest.mark.parametrize("known", [True, False])
async def test_the_log_begins_anew(known: bool) -> None:
    """Of a user who has a log, since the model is another one now; of others nothing is written but the model."""
    async with stored() as store:
        await learn(store, policy("one", "two"), 1.0, one=0.5, two=0.5)
        if known:
            await ask(store, "HSET", keys.shared("u"), "epoch", "e", "logged", "3")
        await prune(store, policy("one"), "two")
        assert await ask(store, "HGET", keys.shared("u"), "logged") == (b"0" if known else None)
        assert await ask(store, "EXISTS", keys.shared("u")) == known


async def test_a_replica_with_the_column_takes_it_back() -> None:
    """It still serves while columns are pruned: it learns into them from nothing, and loses nothing else."""
    async with stored() as store:
        old = policy("one", "two")
        models = Models(store, {"p": old})
        await learn(store, old, 1.0, one=0.5, two=0.5)
        before = await models.read(old, "u")
        await prune(store, policy("one"), "two")
        after = await models.read(old, "u")
        assert (before.b.tolist(), after.b.tolist()) == ([0.5, 0.5], [0.5, 0.0])
        await learn(store, old, 1.0, one=0.5, two=0.5)
        assert (await models.read(old, "u")).b.tolist() == [1.0, 0.5]
        await models.publish(NOW)
        used = await store.shared.last_used("p")
        await store.shared.forget_used("p", pairs(old, "two"))
        await store.shared.forget_used("p", [])
        assert set(used) - set(await store.shared.last_used("p")) == set(pairs(old, "two"))
