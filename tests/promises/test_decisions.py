"""Decisions and their rewards are learned exactly once, however replicas race and connections break."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest

from state import keys
from state.redis.exchange import exchange
from state.values import record
from tests.support.decisions import WINDOW_SECONDS, Servers, clock, one_memory, replica
from tests.support.faults import Proxy
from tests.support.redis_servers import RedisServer

pytestmark = pytest.mark.anyio

DEFAULT = -2.0
BASELINE = {"serves": 0.0, "watches": 1.0, "fades": 0.0}


class Told(msgspec.Struct):
    """What one decision must come to: its features, and the reward that stands."""

    user: str
    loop: str
    size: float
    side: float
    mood: float
    stands: float | None = None
    closed: bool = False

    def x(self, policy: str) -> list[float]:
        if policy == "serves":
            return [1.0, self.size, self.side, self.mood * self.size]
        return [1.0, self.size, self.mood]


class Crowd:
    """Clients that repeat what they send, to any of several replicas, until it is accepted."""

    def __init__(self, clients: list[httpx.AsyncClient], seed: int, faults: list[Callable[[], None]]) -> None:
        self.clients = clients
        self.chance = random.Random(seed)
        self.faults = faults
        self.outcomes: Counter[str] = Counter()

    async def send(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """The answer 200 to a request, which is sent once or several times at once."""

        async def once() -> dict[str, Any]:
            while True:
                if self.faults and self.chance.random() < 0.1:
                    self.chance.choice(self.faults)()
                client = self.chance.choice(self.clients)
                answer = await client.request(method, path, json=body)
                if answer.status_code != 503:
                    assert answer.status_code == 200, answer.text
                    found: dict[str, Any] = answer.json()
                    self.outcomes[found.get("outcome", "decided")] += 1
                    return found

        return (await asyncio.gather(*(once() for _ in range(self.chance.choice([1, 1, 2, 3])))))[0]

    async def decide(self, user: str, number: int) -> tuple[str, Told]:
        mood = self.chance.randint(0, 1)
        features = {name: {"size": self.chance.randint(0, 1), "side": self.chance.randint(0, 1)} for name in "abc"}
        loop = self.chance.choice(["plain", "books"])
        body = {
            "user_id": user,
            "id": f"d{number}",
            "loop": loop,
            "context": {"mood": mood},
            "candidates": [{"id": name, "features": each} for name, each in features.items()],
        }
        made = await self.send("POST", "/decisions", body)
        chosen = features[made["candidate_id"]]
        return made["decision_id"], Told(user, loop, chosen["size"], chosen["side"], mood)

    async def tell(self, whole: str, told: Told) -> None:
        """A reward, and now and then corrections, a retraction and the first value again."""
        path = f"/decisions/{whole}/reward"
        first = float(self.chance.randint(-8, 8))
        await self.send("POST", path, {"reward": first})
        told.stands, told.closed = first, True
        for _ in range(self.chance.randint(0, 3)):
            verb = self.chance.choice(["PUT", "DELETE", "POST"])
            if verb == "PUT":
                told.stands = float(self.chance.randint(-8, 8))
                await self.send(verb, path, {"reward": told.stands})
            elif verb == "DELETE":
                told.stands = None
                await self.send(verb, path)
            else:
                await self.send(verb, path, {"reward": first})

    async def live(self, user: str, number: int) -> tuple[str, Told]:
        """A decision with its outcome in time, with none yet, or cancelled."""
        whole, told = await self.decide(user, number)
        fate = self.chance.random()
        if fate < 0.5:
            await self.tell(whole, told)
        elif fate < 0.6:
            await self.send("POST", f"/decisions/{whole}/cancel")
            told.closed = True
        return whole, told

    async def late(self, whole: str, told: Told) -> None:
        """What comes after the deadline, when the default is what was learned."""
        if told.closed:
            return
        if told.loop == "books":
            told.stands = DEFAULT
        if self.chance.random() < 0.5:
            await self.tell(whole, told)


async def agrees(servers: Any, user: str, all_told: list[Told]) -> None:
    """A, b and counters of each policy are those of the rewards that stand, to the last bit."""
    standing = [told for told in all_told if told.stands is not None]
    rewards = [told.stands or 0.0 for told in standing]
    for policy, baseline in BASELINE.items():
        key = keys.record(user, policy)
        async with servers.connection(key) as connection:
            [values] = await exchange(connection, [("HMGET", key, *record.FIELDS)])
        d = {"serves": 4, "watches": 3, "fades": 2}[policy]
        found = record.decode(key, d, values)
        assert found is not None
        assert found.meta.pulls == (len(all_told) if policy == "serves" else 0)
        assert (found.meta.reward_count, found.meta.cumulative_reward) == (len(standing), sum(rewards))
        if policy == "fades":  # what it forgets depends on the order in which rewards came
            continue
        rows = np.array([told.x(policy) for told in standing]).reshape(len(standing), d)
        assert np.array_equal(found.a, np.eye(d) + rows.T @ rows)
        assert np.array_equal(found.b, rows.T @ (np.array(rewards) - baseline))


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("kind", ["memory", "redis", "cut"])
async def test_nothing_is_lost_or_doubled(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, seed: int
) -> None:
    """Three replicas, several users, decisions at once, repeats, corrections, retractions, late rewards; in one part
    replies to EXEC are lost and connections cut."""
    # A replica that is cut off again and again would call Redis away for a while.
    monkeypatch.setattr("state.redis.failure._FAILURES", 1_000)
    with ExitStack() as stack:
        time, servers = stack.enter_context(clock()), stack.enter_context(one_memory())
        url = direct = "memory://"
        faults: list[Callable[[], None]] = []
        if kind != "memory":
            server: RedisServer = request.getfixturevalue("real_redis")
            url = direct = server.url
        if kind == "cut":
            proxy = stack.enter_context(Proxy(server.port))
            url = proxy.url
            faults = [proxy.lose_reply, proxy.cut]
        async with AsyncExitStack() as running:
            clients = [await running.enter_async_context(replica(url, tmp_path)) for _ in range(3)]
            crowd = Crowd(clients, seed, faults)
            users = [f"u{number}" for number in range(3)]
            lives = [(user, number) for number in range(30) for user in users]
            told = await asyncio.gather(*(crowd.live(*each) for each in lives))
            time.turn(seconds=WINDOW_SECONDS)
            await asyncio.gather(*(crowd.late(*each) for each in told))
            await finished(crowd, users, told)
            await checked(servers, direct, users, told)
            assert crowd.outcomes["duplicate"] > 0
            assert min(crowd.outcomes[name] for name in ("applied", "corrected", "retracted", "cancelled")) > 0


async def finished(crowd: Crowd, users: list[str], told: list[tuple[str, Told]]) -> None:
    """Touch each user once more: what is due is settled, 32 at a time."""
    for user in users:
        whole = next(each for each, one in told if one.user == user)
        path = f"/decisions/{whole}/activate"
        for _ in range(2):
            await crowd.clients[0].post(path)


async def checked(servers: Servers, url: str, users: list[str], told: list[tuple[str, Told]]) -> None:
    opened = servers.open(url)
    try:
        for user in users:
            await agrees(opened, user, [one for _, one in told if one.user == user])
    finally:
        if url != "memory://":
            await opened.close()
