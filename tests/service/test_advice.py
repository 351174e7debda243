"""The service says at its start what its Redis is set up to lose, and starts all the same."""

import asyncio
import logging

import httpx
import pytest

from state.redis.advice import advise, warnings
from state.redis.connect import open_servers
from tests.support.processes import Server, free_port
from tests.support.redis_groups import redis_cluster
from tests.support.redis_servers import RedisServer, redis_server
from tests.support.service import service
from tests.support.waiting import PATIENCE_SECONDS, until, until_async

pytestmark = pytest.mark.anyio

DROPS = "maxmemory-policy {}: when its memory is full it DROPS users' models"
FORGETS = "maxmemory-policy {}: when its memory is full it forgets idempotency keys, and a repeated reward counts TWICE"
NO_AOF = "appendonly no: when it stops, all since its last snapshot is LOST"


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-lfu", "allkeys-random"])
def test_a_policy_that_drops_models(real_redis: RedisServer, policy: str) -> None:
    """Each policy that evicts any key is warned of."""
    assert DROPS.format(policy) in found_with(real_redis, policy)[0]


@pytest.mark.parametrize("policy", ["volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"])
def test_a_policy_that_forgets_idempotency_keys(real_redis: RedisServer, policy: str) -> None:
    """Each policy that evicts keys with an expiry is warned of."""
    assert FORGETS.format(policy) in found_with(real_redis, policy)[0]


def found_with(server: RedisServer, policy: str) -> list[str]:
    """The warnings that INFO of a real server gives when it has this policy."""
    server.command("CONFIG", "SET", "maxmemory-policy", policy)
    try:
        return warnings(server.info(), wait_replicas=0)
    finally:
        server.command("CONFIG", "SET", "maxmemory-policy", "noeviction")


def test_what_is_not_told_is_not_judged() -> None:
    """A Redis that hides a field gets no warning about it."""
    assert warnings({}, wait_replicas=0) == []


async def advised(url: str, caplog: pytest.LogCaptureFixture) -> list[str]:
    """What is logged about the Redis at `url`."""
    servers = open_servers(url, size=4, timeout=PATIENCE_SECONDS)
    try:
        with caplog.at_level(logging.INFO, "oo.store"):
            await advise(servers, patience=PATIENCE_SECONDS)
    finally:
        await servers.close()
    return [f"{record.levelname} {record.message}" for record in caplog.records if record.name == "oo.store"]


async def test_one_line_each(caplog: pytest.LogCaptureFixture) -> None:
    """What is risky is a warning of one line."""
    with redis_server("--maxmemory-policy", "allkeys-lru") as server:
        evicts, stops = await advised(server.url, caplog)
    assert evicts == f"WARNING Redis has {DROPS.format('allkeys-lru')}"
    assert stops == f"WARNING Redis has {NO_AOF}"


async def test_a_cluster(caplog: pytest.LogCaptureFixture) -> None:
    """A cluster is asked as well."""
    with redis_cluster("--appendonly", "yes", "--maxmemory-policy", "volatile-ttl", masters=1) as cluster:
        assert await advised(cluster.url, caplog) == [f"WARNING Redis has {FORGETS.format('volatile-ttl')}"]


async def test_silent_about_a_safe_redis(caplog: pytest.LogCaptureFixture) -> None:
    """With AOF and without eviction there is nothing to say."""
    with redis_server("--appendonly", "yes") as server:
        assert await advised(server.url, caplog) == []


async def test_not_permitted_to_look(caplog: pytest.LogCaptureFixture) -> None:
    """That a user of Redis may not call INFO is no warning: the set-up is just not known."""
    with redis_server(user=("oo", "secret", "~* &* +@all -info")) as server:
        assert await advised(server.url, caplog) == ["INFO the settings of Redis are unknown: NoPermissionError"]


def test_said_by_the_service_once_redis_is_there() -> None:
    """A Redis that is away at the start delays nothing, and is asked when it comes."""
    port = free_port()
    with service({"REDIS_URL": f"redis://127.0.0.1:{port}/0", "STORE_TIMEOUT_SECONDS": "30"}) as served:
        assert "Redis has" not in served.log
        with redis_server(port=port):
            until(lambda: NO_AOF in served.log, "the warning")
            until(lambda: _ready(served), "the service ready")


def _ready(served: Server) -> bool:
    """Whether it says so now; it gives Redis half a second, which a busy machine may need for itself."""
    return httpx.get(f"{served.url}/health/ready", timeout=PATIENCE_SECONDS).status_code == 200


async def test_asked_again_until_it_answers(caplog: pytest.LogCaptureFixture) -> None:
    """Refused connections are no end of asking."""
    port = free_port()
    asking = asyncio.create_task(advised(f"redis://127.0.0.1:{port}/0", caplog))

    async def refused() -> bool:
        return "Connection refused" in caplog.text

    await until_async(refused, "its first attempt refused")
    with redis_server(port=port):
        first, second = await asking
    words = f"cannot be reached (127.0.0.1:{port}: Connection refused): requests are answered 503 meanwhile"
    assert first == f"WARNING Redis {words}"
    assert second == f"WARNING Redis has {NO_AOF}"
