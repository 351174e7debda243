"""Replicas with different policy files learn into the same models at the same time, and no column loses a reward."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from app.decisions.reward import Learner
from app.policies.catalog import catalog
from state import keys
from state.redis.connect import open_servers
from state.store import Store
from state.values import record
from tests.support.redis_servers import RedisServer
from tests.support.waiting import PATIENCE_SECONDS
from tests.unit.app.bandit.samples import moment
from tests.unit.app.decisions.scene import rules_of

pytestmark = pytest.mark.anyio

# As a rollout meets them: columns are added, dropped, taken back, moved, and multiplied.
FILES = (["one", "two"], ["two", "three", "one"], ["three", "1"], ["one", "one*two", "two"], ["1", "two"])
FEATURES = "".join(
    f"{name} = {{ of = 'candidate', kind = 'number', min = 0, max = 1 }}\n" for name in ("one", "two", "three")
)
USERS, REWARDS = 3, 40


@asynccontextmanager
async def replica(server: RedisServer, columns: list[str]) -> AsyncIterator[tuple[Store, Learner]]:
    """One with this policy file."""
    rows = catalog(
        f"[features]\n{FEATURES}[policies.p]\ncolumns = {columns}\nexplore = {{ by = 'igw', sharpness = 1 }}"
    )
    servers = open_servers(server.url, size=8, timeout=PATIENCE_SECONDS)
    store = Store(servers, timeout=PATIENCE_SECONDS, history_size=1, marker_seconds=60)
    try:
        yield store, Learner(rules_of(store, rows.policies))
    finally:
        await store.close()


async def test_no_column_loses_a_reward(real_redis: RedisServer) -> None:
    """Of each user, b by the name of the column is the sum over the rewards that came to replicas that had it."""
    chance = random.Random(3)
    wanted: dict[int, Counter[str]] = {user: Counter() for user in range(USERS)}
    async with AsyncExitStack() as stack:
        replicas = [await stack.enter_async_context(replica(real_redis, columns)) for columns in FILES]

        async def learn(place: int) -> None:
            for _ in range(REWARDS):
                user, reward = chance.randrange(USERS), chance.choice([-1.0, 0.5, 1.0])
                # Powers of two, so that sums do not depend on their order.
                values = {name: chance.choice([0.0, 0.25, 0.5, 1.0]) for name in ("one", "two", "three")}
                known = {"1": 1.0, "one*two": values["one"] * values["two"], **values}
                wanted[user].update({label: reward * known[label] for label in FILES[place]})
                await replicas[place][1].learn("p", f"u{user}", context=moment(9, 1), features=values, reward=reward)

        await asyncio.gather(*(learn(place) for place in range(len(FILES))))
        store = replicas[0][0]
        rewards = 0
        for user in range(USERS):
            key = keys.record(f"u{user}", "p")
            values = await store.read(key, record.FIELDS)
            columns = await store.shared.columns(values[3] or b"")
            assert columns is not None
            found = record.decode(key, len(columns.pairs), values)
            assert found is not None
            assert dict(zip(columns.labels, found.b.tolist(), strict=True)) == dict(wanted[user])
            assert record.flaw(found) is None
            rewards += found.meta.reward_count
        assert rewards == len(FILES) * REWARDS
