"""The command `prior` on real Redis of every kind, and what services make of it."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from app.commands.cli import run
from app.policies.catalog import catalog
from state import keys
from state.redis.connect import open_servers
from state.redis.exchange import Command, exchange_or_raise
from state.values import prior
from state.values.prior import PriorRecord
from tests.support.models import columns_of, like_minded
from tests.support.redis_groups import redis_cluster, redis_sentinel
from tests.support.redis_servers import RedisServer, redis_server, without_place
from tests.support.service import service
from tests.support.waiting import PATIENCE_SECONDS, until

ROOT = Path(__file__).parents[2]
OWN = """
[policies.own]
columns = ["1", "priority", "is_overdue"]
prior = "population"
explore = { by = "epsilon", epsilon = 0.1 }
"""
ROW = catalog(OWN).policies["own"]
MU = [0.1, 0.5, -0.25]
USERS = 3_000


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The policy file, which POLICIES names."""
    path = tmp_path / "own.toml"
    path.write_text(OWN)
    monkeypatch.setenv("POLICIES", str(path))
    monkeypatch.setenv("STORE_TIMEOUT_SECONDS", f"{PATIENCE_SECONDS:g}")
    return path


@pytest.fixture(scope="module", params=["single", "sentinel", "cluster"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    match request.param:
        case "single":
            with redis_server() as server:
                yield server.url
        case "sentinel":
            with redis_sentinel(down_after_ms=3_600_000) as group:
                yield group.url
        case _:
            with redis_cluster("--cluster-node-timeout", "60000") as cluster:
                yield cluster.url


async def write(url: str, commands: list[Command]) -> None:
    """Write each key where it belongs."""
    servers = open_servers(url, size=4, timeout=PATIENCE_SECONDS)
    try:
        if servers.spans_users:
            groups = [commands[start : start + 500] for start in range(0, len(commands), 500)]
        else:
            groups = [[command] for command in commands]
        for group in groups:
            async with servers.connection(str(group[0][1])) as connection:
                await exchange_or_raise(connection, group, PATIENCE_SECONDS)
    finally:
        await servers.close()


async def stored(url: str) -> PriorRecord:
    servers = open_servers(url, size=4, timeout=PATIENCE_SECONDS)
    try:
        async with servers.connection(keys.PRIORS) as connection:
            [text] = await exchange_or_raise(connection, [("HGET", keys.PRIORS, "own")], PATIENCE_SECONDS)
    finally:
        await servers.close()
    return prior.decode(keys.PRIORS, text)


def build(url: str) -> tuple[int, str]:
    """The command as a process of its own; its exit code and what it says."""
    environ = {**os.environ, "REDIS_URL": url}
    command = [sys.executable, "-m", "app", "prior", "--policy", "own"]
    done = subprocess.run(
        command, cwd=ROOT, env=environ, check=False, capture_output=True, text=True, timeout=PATIENCE_SECONDS
    )
    return done.returncode, done.stdout + without_place(done.stderr, url)


@pytest.mark.anyio
async def test_users_on_all_servers_are_found(url: str, own: Path) -> None:
    """Some thousand users: all are seen, a thousand are taken, and what they have in common is found. Erased users are
    gone at the next rebuild, and with too few users left the prior says nothing."""
    await write(url, list(like_minded(ROW, MU, range(USERS))))
    code, said = await asyncio.to_thread(build, url)
    assert (code, said.splitlines()[0]) == (0, "own")
    assert "  3,000 users seen, 1,000 taken, noise ±0.297, version 1; a new user starts with\n" in said
    first = await stored(url)
    assert (first.version, first.users, first.columns) == (1, 1_000, columns_of(ROW))
    assert np.linalg.solve(first.a, first.b) == pytest.approx(MU, abs=0.05)

    await write(url, [("DEL", keys.record(f"user {number}", "own")) for number in range(19, USERS)])
    code, said = await asyncio.to_thread(build, url)
    assert (code, said) == (
        0,
        "own: 19 users seen, 19 taken: fewer than 20 have 5 rewards, so new users start from nothing\n",
    )
    second = await stored(url)
    assert (second.version, second.users, second.b.any()) == (2, 19, np.False_)
    await write(url, [("DEL", keys.record(f"user {number}", "own")) for number in range(19)])


def test_an_erased_user_is_gone(real_redis: RedisServer, own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever was erased, the next prior is the same as if that user had never been."""
    monkeypatch.setenv("REDIS_URL", real_redis.url)

    def rebuilt() -> PriorRecord:
        assert run(["prior", "--policy", "own"]) == 0
        with real_redis.client() as client:
            return prior.decode("k", client.hget(keys.PRIORS, "own"))

    def fill(commands: Iterator[Command]) -> None:
        with real_redis.client() as client:
            for command in commands:
                client.execute_command(*command)

    fill(like_minded(ROW, MU, range(30)))
    without = rebuilt()
    fill(like_minded(ROW, [5.0, 5.0, 5.0], range(90, 91)))
    with_ann = rebuilt()
    assert with_ann.a.tolist() != without.a.tolist()
    # As a service that has this policy does: `oo:policies` says that there are such models.
    real_redis.command("SADD", keys.POLICIES, "own")
    environ = {"REDIS_URL": real_redis.url, "STORE_TIMEOUT_SECONDS": f"{PATIENCE_SECONDS:g}"}
    with service(environ, ready="/health/ready") as server:
        erased = httpx.delete(f"{server.url}/users/user 90", timeout=PATIENCE_SECONDS).json()
    assert "oo:{user%2090}:own" in json.dumps(erased)
    again = rebuilt()
    assert (again.version, again.users) == (3, 30)
    assert (again.a.tolist(), again.b.tolist()) == (without.a.tolist(), without.b.tolist())


def test_two_rebuilds_at_once(real_redis: RedisServer, own: Path) -> None:
    """Each writes a version of its own."""
    with real_redis.client() as client:
        for command in like_minded(ROW, MU, range(50)):
            client.execute_command(*command)
    environ = {**os.environ, "REDIS_URL": real_redis.url}
    words = [sys.executable, "-m", "app", "prior", "--policy", "own"]
    started = [subprocess.Popen(words, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = [process.communicate(timeout=PATIENCE_SECONDS)[0] for process in started]
    assert {process.returncode for process in started} == {0}
    assert sorted(int(text.partition(", version ")[2].partition(";")[0]) for text in said) == [1, 2, 3]
    assert real_redis.command("HGET", keys.PRIORS, "own").startswith('{"version":3,')


def test_a_service_takes_it_over_and_publishes_its_columns(real_redis: RedisServer, own: Path) -> None:
    """At its start, before anything is asked of it; a damaged prior is a line in its log, and it serves on."""
    columns = columns_of(ROW)
    text = prior.encode(PriorRecord(7, 1, 20, columns, np.eye(3), np.ones(3)))
    with real_redis.client() as client:
        client.hset(keys.PRIORS, mapping={"own": text, "tips-v3": b"{}"})
    environ = {"REDIS_URL": real_redis.url, "STORE_TIMEOUT_SECONDS": f"{PATIENCE_SECONDS:g}", "POLICIES": str(own)}
    with service(environ, ready="/health/ready") as server:
        until(lambda: "prior of own: version 7, from 20 users" in server.log, "the prior in the log")
        assert "oo:priors tips-v3: is not a prior" in server.log
        until(lambda: real_redis.command("EXISTS", keys.USED) == 1, "the columns are published")
        assert real_redis.command("HGET", keys.COLUMNS, columns.fingerprint).encode() == columns.encode()
        assert set(real_redis.command("SMEMBERS", keys.POLICIES)) >= {"own", "linucb-v1"}
        assert httpx.get(f"{server.url}/stats/ann", timeout=PATIENCE_SECONDS).json()["theta"] == [0.0] * 5
