"""The log is complete: after killed replicas and a place that was away, it tells every model of every user to the last
bit."""

import asyncio
import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.decision_log.places import Folder, Streamed
from app.decision_log.publish import Publisher
from app.events.client import reach
from app.log_reading.reading import read
from app.policies.catalog import SIZES
from state import keys
from state.redis.connect import open_servers
from state.store import Store
from state.update.changes import Change, Fields, Hash
from state.values import record
from tests.support import bodies
from tests.support.nats_servers import nats_server
from tests.support.processes import Server
from tests.support.redis_groups import redis_cluster
from tests.support.redis_servers import redis_server
from tests.support.service import service
from tests.support.waiting import PATIENCE_SECONDS
from tests.unit.app.decision_log.test_publish import Noted

pytestmark = pytest.mark.anyio

USERS = [f"user {number}" for number in range(5)]
LOOPS = """
[loops.books]
champion = "egreedy-v1"
shadows = ["linucb-v1", "tips-v3"]
window = "1s"
default_reward = -0.25

[loops.sums]
champion = "tips-v3"
shadows = ["egreedy-v2"]
window = "1h"
aggregation = "sum"
"""


@pytest.fixture(params=["redis", "cluster"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """One server, and a Cluster, on which the outbox has a part in each slot."""
    with ExitStack() as stack:
        if request.param == "redis":
            yield stack.enter_context(redis_server()).url
        else:
            yield stack.enter_context(redis_cluster()).url


class Traffic:
    """All kinds of requests to replicas, by chance; what fails because one is killed is not repeated."""

    def __init__(self, replicas: list[Server]) -> None:
        self.replicas = replicas
        self.chance = random.Random(11)
        self.made: list[str] = []

    async def send(self, client: httpx.AsyncClient, method: str, path: str, body: Any = None) -> dict[str, Any]:
        server = self.chance.choice(self.replicas)
        try:
            answer = await client.request(method, server.url + path, json=body)
        except httpx.TransportError:
            return {}
        assert answer.status_code < 500 or answer.status_code == 503, answer.text
        found: dict[str, Any] = answer.json() if answer.status_code == 200 else {}
        return found

    async def one(self, client: httpx.AsyncClient) -> None:
        chance = self.chance
        user, what = chance.choice(USERS), chance.randrange(12)
        if what < 4 or not self.made:
            body = {
                "user_id": user,
                "loop": chance.choice(["tips", "books", "sums"]),
                "context": {"hour_of_day": chance.randrange(24), "day_of_week": 3},
                "candidates": [{"id": name, "features": {"priority": chance.randrange(5)}} for name in "abc"],
                "defer": what == 0,
            }
            if made := (await self.send(client, "POST", "/decisions", body)).get("decision_id"):
                self.made.append(made)
        elif what == 4:
            await self.send(client, "POST", "/score", bodies.score(user))
        elif what == 5:
            await self.send(client, "POST", "/reward/egreedy", bodies.reward(user, chance.random()))
        else:
            whole = chance.choice(self.made[-20:])
            told = {"reward": chance.random()}
            part = {"reward": chance.random() / 8, "part": f"p{chance.randrange(4)}"}
            method, path, said = chance.choice(
                [
                    ("POST", "reward", told),
                    ("POST", "reward", part),
                    ("PUT", "reward", told),
                    ("DELETE", "reward", None),
                    ("POST", "activate", None),
                    ("POST", "cancel", None),
                ]
            )
            await self.send(client, method, f"/decisions/{whole}/{path}", said)

    async def run(self, count: int) -> None:
        async with httpx.AsyncClient(timeout=PATIENCE_SECONDS) as client:
            for _ in range(count // 8):
                await asyncio.gather(*(self.one(client) for _ in range(8)))


@asynccontextmanager
async def store(url: str) -> AsyncIterator[Store]:
    servers = open_servers(url, size=4, timeout=PATIENCE_SECONDS)
    found = Store(servers, timeout=PATIENCE_SECONDS, history_size=1, marker_seconds=60)
    yield found
    await found.close()


def log(verb: str, directory: Path, **environ: str) -> "subprocess.CompletedProcess[str]":
    """What a command on the log says."""
    argv = [sys.executable, "-m", "app", "log", verb, str(directory)]
    env = {**os.environ, **environ}
    return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)


async def test_killed_replicas(url: str, tmp_path: Path) -> None:
    """Of three replicas two are killed at work. What they committed and did not publish is in Redis, and whoever looks
    publishes it. Then the log agrees with every model to the last bit, by the command."""
    lines = tmp_path / "log"
    lines.mkdir()
    (tmp_path / "policies.toml").write_text(LOOPS)
    env = {"REDIS_URL": url, "DECISION_LOG": f"file://{lines}", "POLICIES": str(tmp_path / "policies.toml")}
    with ExitStack() as stack:
        replicas = [stack.enter_context(service(env, ready="/health/ready")) for _ in range(3)]
        traffic = Traffic(replicas)
        await traffic.run(160)
        for _ in range(2):
            working = asyncio.create_task(traffic.run(120))
            await asyncio.sleep(0)
            killed = traffic.replicas.pop()
            killed.kill()
            await working
        async with httpx.AsyncClient(timeout=PATIENCE_SECONDS) as client:
            for path in ("/reset/user%200", "/reset/nobody"):
                assert (await client.post(replicas[0].url + path)).status_code == 200
            assert (await client.delete(replicas[0].url + "/users/user%201")).status_code == 200
        await traffic.run(80)
    async with store(url) as found:
        await Publisher(found.outbox, Folder(lines), 10**9, Noted()).look(old_ms=-60_000)
        assert await found.outbox.size() == {}
    done = log("verify", lines, REDIS_URL=url)
    assert (done.returncode, done.stdout) == (0, "users that agree: 5; that differ: 0; not known: 0\n"), done.stderr
    [erased] = [line for line in read(lines, print) if not line.user]
    assert "user 1" not in str(erased)
    async with store(url) as found:
        key = keys.record("user 2", "egreedy-v1")
        zero = Fields(key, {b"b": bytes(8 * SIZES["egreedy-v1"])})
        await found.update("user 2", (Hash(key, record.FIELDS),), lambda _: Change(None, (zero,)))
    done = log("verify", lines, REDIS_URL=url)
    assert (done.returncode, "user 2: differs: egreedy-v1: b differ" in done.stderr) == (1, True)


async def test_a_stream_that_was_away(tmp_path: Path) -> None:
    """With NATS killed at work, decisions go on, lines wait in Redis and /health says so; a copy of the stream agrees
    with every model."""
    (tmp_path / "policies.toml").write_text(LOOPS)
    with redis_server() as redis, nats_server() as nats:
        env = {
            "REDIS_URL": redis.url,
            "NATS_URL": nats.url,
            "DECISION_LOG": "nats",
            "POLICIES": str(tmp_path / "policies.toml"),
        }
        with service(env, ready="/health/ready") as served:
            traffic = Traffic([served])
            await traffic.run(80)
            nats.stop()
            await traffic.run(80)
            async with httpx.AsyncClient(timeout=PATIENCE_SECONDS) as client:
                while not (health := (await client.get(served.url + "/health")).json())["log"]["problem"]:
                    await traffic.one(client)
            assert health["ok"]
            nats.start()
        async with store(redis.url) as found:
            place = Streamed(lambda: reach([nats.url], ""))
            await Publisher(found.outbox, place, 10**9, Noted()).look(old_ms=-60_000)
            await place.close()
        copy = tmp_path / "copy"
        copy.mkdir()
        assert log("pull", copy, NATS_URL=nats.url).returncode == 0
        done = log("verify", copy, REDIS_URL=redis.url)
    assert (done.returncode, done.stdout) == (0, "users that agree: 5; that differ: 0; not known: 0\n"), done.stderr
