"""Rewards: what they write, and that a key makes one count once."""

import numpy as np
import pytest

from app.decisions.reward import Learner
from app.policies.catalog import policies
from state import keys
from state.errors import CorruptState, KeyReused
from state.update.changes import Fields
from state.values.record import FIELDS, Meta, Record, decode
from tests.unit.app.bandit.samples import task
from tests.unit.app.decisions.scene import CONTEXT, NOW, Noted, Twice, ask, rules_of, stored

pytestmark = pytest.mark.anyio

ROWS = policies()
ROW = ROWS["egreedy-v1"]
KEY = keys.record("u", ROW.id)
TASK = task(is_overdue=True, task_age_days=3.0, priority=4)


async def learn(
    store: Twice, reward: float, noted: Noted | None = None, *, once: tuple[str, bytes] | None = None
) -> bool:
    learner = Learner(rules_of(store, ROWS, noted), clock=lambda: NOW + 0.9)
    return await learner.learn(ROW.id, "u", context=CONTEXT, features=TASK, reward=reward, once=once)


async def model(store: Twice) -> Record:
    found = decode(KEY, ROW.d, await store.read(KEY, FIELDS))
    assert found is not None
    return found


async def test_what_a_reward_writes() -> None:
    """A + xxᵀ, b + r·x and meta, all of it in one write to one hash."""
    async with stored() as store:
        assert not await learn(store, -0.5)
        assert not await learn(store, 1.0)
        found = await model(store)
    [x] = ROW.see(CONTEXT, [TASK])
    assert np.allclose(found.a, np.eye(ROW.d) + 2 * np.outer(x, x))
    assert np.allclose(found.b, 0.5 * x)
    assert found.meta == Meta(0, 0, 2, 0.5, NOW, updates=2, weight=2.0, squares=1.25)
    for change, _ in store.changes:
        [write] = change.writes
        assert isinstance(write, Fields)
        assert (write.key, set(write.values)) == (KEY, {b"A", b"b", b"meta"})


async def test_a_key_makes_it_count_once() -> None:
    """The same key and request is a replay, and told as one; another request with the key is refused."""
    noted = Noted()
    async with stored() as store:
        assert not await learn(store, 1.0, noted, once=("k", b"fingerprint"))
        assert await learn(store, 1.0, noted, once=("k", b"fingerprint"))
        with pytest.raises(KeyReused):
            await learn(store, 1.0, noted, once=("k", b"other"))
        assert (await model(store)).meta.reward_count == 1
        assert await ask(store, "GET", keys.marker("u", ROW.id, "k")) == b"fingerprint"
    assert noted.rewards == [(ROW.id, 1.0, False), (ROW.id, 1.0, True)]


async def test_a_damaged_model_learns_nothing() -> None:
    """It is named, and the reward is not told of."""
    noted = Noted()
    async with stored() as store:
        damaged = np.full((ROW.d, ROW.d), np.nan).tobytes()
        await ask(store, "HSET", KEY, "A", damaged, "b", bytes(8 * ROW.d), "meta", bytes(40))
        with pytest.raises(CorruptState, match=r"oo:\{u\}:egreedy-v1: A or b is not finite"):
            await learn(store, 1.0, noted)
    assert noted.rewards == []
