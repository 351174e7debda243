"""Several service processes on one Redis: what all of them acknowledged is what Redis holds, exactly once."""

import asyncio
import collections
import itertools
import json
import math
import resource
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import numpy as np
import pytest

from app.bandit.ridge import Matrix, Vector
from state import keys
from state.values.record import META
from tests.support.bodies import POLICIES, candidate, reward, score
from tests.support.processes import Server
from tests.support.redis_servers import RedisServer
from tests.support.replay import two_sided
from tests.support.service import service

pytestmark = pytest.mark.anyio

SIZES = {"linucb-v1": 5, "egreedy-v1": 7, "egreedy-v2": 12}


@pytest.fixture(scope="module")
def processes(store: RedisServer) -> Iterator[list[Server]]:
    """Four of them, with a history long enough to hold every decision of a test."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as stack:
        # Systems allow few open files at first; the servers inherit what is asked for here.
        wanted = 4_096 if hard == resource.RLIM_INFINITY else min(hard, 4_096)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        # And their patience too is enough: on a busy machine so many requests at once take long.
        env = {"STORE_TIMEOUT_SECONDS": "600", "MAX_REQUEST_SECONDS": "600"}
        env |= {"REDIS_URL": store.url, "FEATURE_HISTORY_SIZE": "2000"}
        yield [stack.enter_context(service(env)) for _ in range(4)]


async def send(server: Server, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, bytes]:
    """One request on a connection of its own: its status and body. Lean, so that hundreds really meet."""
    content = json.dumps(body).encode() if body is not None else b""
    head = f"{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: {len(content)}\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        writer.write(head.encode() + content)
        answer = await asyncio.wait_for(reader.read(), 600)
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
    top, _, text = answer.partition(b"\r\n\r\n")
    return int(top.split()[1]), text


async def all_at_once(servers: list[Server], requests: list[tuple[str, dict[str, Any]]]) -> list[tuple[int, bytes]]:
    """POST every request at the same moment, each to the next server."""
    turns = itertools.cycle(servers)
    return await asyncio.gather(
        *(send(server, "POST", path, body) for server, (path, body) in zip(turns, requests, strict=False))
    )


async def get(servers: list[Server], path: str) -> Any:
    """What all servers answer to a GET: they must agree."""
    answers = await asyncio.gather(*(send(server, "GET", path) for server in servers))
    assert len(set(answers)) == 1, "processes disagree"
    status, text = answers[0]
    assert status == 200
    return json.loads(text)


def features(d: int, hour: int, day: int, task: dict[str, Any], profile: dict[str, float]) -> Vector:
    """The feature vector written out anew, without the service's code."""
    x = [
        math.sin(2 * math.pi * hour / 24),
        math.cos(2 * math.pi * hour / 24),
        float(task["is_overdue"]),
        min(max(task["task_age_days"], 0.0), 30.0) / 30,
        (task["priority"] - 1) / 3,
        math.sin(2 * math.pi * day / 7),
        math.cos(2 * math.pi * day / 7),
        profile["completion_rate_30d"],
        profile["dismiss_rate_30d"],
        profile["mean_dwell_ms_30d"] / 600_000,
        (math.cos(2 * math.pi * (profile["preferred_hour"] - hour) / 24) + 1) / 2,
        min(1.0, math.log(1 + profile["tip_volume_30d"]) / math.log(101)),
    ]
    return np.array(x[:d])


def stored(store: RedisServer, user: str, policy: str) -> tuple[Matrix, Vector, Any]:
    """A, b and meta as raw bytes of Redis say."""
    with store.client() as client:
        a, b, meta = client.hmget(keys.record(user, policy), "A", "b", "meta")
    d = SIZES[policy]
    return np.frombuffer(a).reshape(d, d), np.frombuffer(b), np.frombuffer(meta[: META.itemsize], META)[0]


@pytest.mark.parametrize("policy", POLICIES)
async def test_simultaneous_updates_are_all_counted_once(
    processes: list[Server], store: RedisServer, policy: str
) -> None:
    """800 rewards and 400 scores of one user, all at once over four processes: every one is served, and A, b, the
    counters and the history are the exact sum of them."""
    user, suffix, d = f"crowd-{policy}", POLICIES[policy], SIZES[policy]
    draw = np.random.default_rng(2)
    a, b, total = np.eye(d), np.zeros(d), 0.0
    requests: list[tuple[str, dict[str, Any]]] = []
    for _ in range(800):
        hour, day = int(draw.integers(24)), int(draw.integers(7))
        task = {
            "hour_of_day": hour,
            "is_overdue": bool(draw.integers(2)),
            "task_age_days": float(draw.uniform(-5, 40)),
            "priority": int(draw.integers(1, 5)),
        }
        profile = {
            "completion_rate_30d": float(draw.uniform()),
            "dismiss_rate_30d": float(draw.uniform()),
            "mean_dwell_ms_30d": float(draw.uniform(0, 600_000)),
            "preferred_hour": float(draw.uniform(0, 24)),
            "tip_volume_30d": int(draw.integers(0, 300)),
        }
        value = float(draw.choice([-1.0, -0.5, 0.0, 0.5, 1.0]))
        x = features(d, hour, day, task, profile)
        a, b, total = a + np.outer(x, x), b + value * x, total + value
        body = {"tip_id": "t", "reward": value, "features": task, "day_of_week": day, "profile_features": profile}
        requests.append((f"/reward{suffix}", {"user_id": user} | body))
    # The age says in the history which request an entry belongs to.
    for index in range(400):
        body = score(user) | {"candidates": [candidate(f"score-{index}", task_age_days=index)]}
        requests.append((f"/score{suffix}", body))
    draw.shuffle(requests)
    answers = await all_at_once(processes, requests)
    assert collections.Counter(status for status, _ in answers) == {200: 1_200}
    stats = await get(processes, f"/stats{suffix}/{user}")
    history = (await get(processes, f"/features/{user}"))["history"]
    stored_a, stored_b, meta = stored(store, user, policy)
    np.testing.assert_allclose(stored_a, a, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(stored_b, b, rtol=1e-9, atol=1e-9)
    assert (meta["pulls"], meta["reward_count"], meta["cumulative_reward"]) == (400, 800, total)
    assert (stats["pulls"], stats["reward_count"], stats["cumulative_reward"]) == (400, 800, total)
    assert sorted(entry["tip_id"] for entry in history) == sorted(f"score-{index}" for index in range(400))
    assert all(entry["tip_id"] == f"score-{entry['features']['task_age_days']:.0f}" for entry in history)
    explored = sum(entry["features"].get("exploring", False) for entry in history)
    assert meta["explore_count"] == explored
    if policy != "linucb-v1":
        assert two_sided([0.1] * 400, explored) > 1e-6


async def test_reset_among_updates_leaves_a_consistent_state(processes: list[Server], store: RedisServer) -> None:
    """Resets in the midst of rewards: what is left is the sum of the rewards after the last one, never a mixture."""
    user = "phoenix"
    x = features(5, 9, 1, candidate()["features"], collections.defaultdict(float))
    requests: list[tuple[str, dict[str, Any]]] = [("/reward", reward(user))] * 300
    for place in (50, 120, 200):
        requests.insert(place, (f"/reset/{user}", {}))
    answers = await all_at_once(processes, requests)
    assert {status for status, _ in answers} == {200}
    stats = await get(processes, f"/stats/{user}")
    count = stats["reward_count"]
    assert 0 <= count <= 300
    assert stats["cumulative_reward"] == count
    if count:
        a, b, meta = stored(store, user, "linucb-v1")
        assert meta["reward_count"] == count
        np.testing.assert_allclose(a, np.eye(5) + count * np.outer(x, x), rtol=1e-9)
        np.testing.assert_allclose(b, count * x, rtol=1e-9)


async def test_candidates_are_chosen_as_often_as_their_probability_says(processes: list[Server]) -> None:
    """Over 2,000 decisions of one model the best of five is picked with 1 - 0.1 + 0.1 / 5 and each other with
    0.1 / 5; half of the explored picks at one position or another would not pass."""
    user, names = "frequent", ["a", "b", "c", "d", "e"]
    candidates = [candidate(name, priority=4 if name == "d" else 1, is_overdue=name == "d") for name in names]
    body = score(user) | {"candidates": candidates}
    taught = await all_at_once(processes, [("/reward/egreedy", reward(user, priority=4))] * 5)
    assert {status for status, _ in taught} == {200}
    answers = []
    for _ in range(4):
        answers += await all_at_once(processes, [("/score/egreedy", body)] * 500)
    assert {status for status, _ in answers} == {200}
    history = (await get(processes, f"/features/{user}"))["history"]
    picked = collections.Counter(json.loads(text)["tip_id"] for _, text in answers)
    for name in names:
        probability = 0.1 / 5 + (0.9 if name == "d" else 0.0)
        assert two_sided([probability] * 2_000, picked[name]) > 1e-6, picked
    assert collections.Counter(entry["tip_id"] for entry in history) == picked
    explored = collections.Counter(entry["tip_id"] for entry in history if entry["features"]["exploring"])
    for name in names:
        assert two_sided([0.2] * explored.total(), explored[name]) > 1e-6, explored
    assert {entry["tip_id"] for entry in history if not entry["features"]["exploring"]} == {"d"}
