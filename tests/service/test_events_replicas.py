"""Events over three replicas of the real service, while one is killed and the nats-server is restarted."""

import json
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import httpx
import nats
import pytest
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig

from tests.support.nats_servers import nats_server
from tests.support.processes import Server
from tests.support.redis_servers import RedisServer, redis_server
from tests.support.service import service
from tests.support.waiting import PATIENCE_SECONDS, until, until_async

pytestmark = pytest.mark.anyio

EVENTS = 2_000
MALFORMED = 20


def health(replica: Server) -> dict[str, Any]:
    answer = httpx.get(f"{replica.url}/health", timeout=60)  # 503 while Redis is frozen, with the same body
    found: dict[str, Any] = answer.json()["nats"]["consumers"]["signals"]
    return found


def stored(redis: RedisServer) -> int:
    """How many users' last sync is in Redis."""
    with redis.client() as client:
        return sum(1 for _ in client.scan_iter("oo:{*}:sync", count=1_000))


async def publish(js: JetStreamContext, numbers: range) -> None:
    for number in numbers:
        body = json.dumps({"user_id": f"u{number}", "number": number}).encode()
        await js.publish("signals.task.synced", body)
        if number % (EVENTS // MALFORMED) == 0:
            await js.publish("signals.task.synced", b"malformed")


async def test_no_event_is_lost_when_a_replica_is_killed_and_nats_restarts() -> None:
    """2,000 events, one of three replicas killed with -9 and the server restarted: all written, the bad ones reported.

    Killed in the middle of its events: Redis is frozen then and waited for, so what a replica has in hand it keeps.
    """
    with ExitStack() as stack:
        redis = stack.enter_context(redis_server())
        server = stack.enter_context(nats_server())
        # What a dead replica had in hand goes to another after `ack_wait`: a short one, so as not to wait for it here.
        durable = ConsumerConfig(durable_name="oo-serving-signals", filter_subject="signals.>", ack_wait=2.0)
        async with connected(server.url) as js:
            await js.add_stream(name="dlq", subjects=["dlq.>"])
            await js.add_stream(name="work", subjects=["signals.>", "feedback.>"])
            await js.add_consumer("work", durable, max_deliver=-1, max_ack_pending=10_000)
            env = {
                "REDIS_URL": redis.url,
                "NATS_URL": server.url,
                "NATS_MAX_DELIVER": "1",
                "STORE_TIMEOUT_SECONDS": "60",
            }
            replicas = [stack.enter_context(service(env)) for _ in range(3)]
            await until_async(lambda: all_run(replicas), "replicas run")

            await publish(js, range(EVENTS // 2))
            redis.pause()
            await publish(js, range(EVENTS // 2, EVENTS * 3 // 4))
            until(lambda: health(busiest(replicas))["in_hand"] > 0, "events in hand")
            killed = busiest(replicas)
            killed.kill()
            redis.resume()
        server.restart()
        async with connected(server.url) as js:
            await publish(js, range(EVENTS * 3 // 4, EVENTS))
            until(lambda: stored(redis) == EVENTS, "all events written")
            await until_async(lambda: all_settled(js), "nothing outstanding")
            assert (await js.stream_info("dlq")).state.messages == MALFORMED
            info = await js.consumer_info("work", "oo-serving-signals")
            assert info.delivered.consumer_seq > EVENTS + MALFORMED  # some went to another when the first was killed
        assert all(health(replica)["processed"] > 0 for replica in replicas if replica is not killed)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[JetStreamContext]:
    client = await nats.connect(url)
    try:
        yield client.jetstream(timeout=PATIENCE_SECONDS)
    finally:
        await client.close()


async def all_run(replicas: list[Server]) -> bool:
    return all(health(replica)["state"] == "running" for replica in replicas)


def busiest(replicas: list[Server]) -> Server:
    """The replica that has most events in hand."""
    return max(replicas, key=lambda replica: health(replica)["in_hand"])


async def all_settled(js: JetStreamContext) -> bool:
    info = await js.consumer_info("work", "oo-serving-signals")
    return bool(info.num_pending == 0 and info.num_ack_pending == 0)
