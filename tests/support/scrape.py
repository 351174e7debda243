"""What the service says at /metrics, read by Prometheus' own parser; and a service that did a bit of everything."""

import asyncio
import json
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import msgspec
import nats
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from app.experiments.health import continued, encode
from state.redis.connect import open_servers
from state.store import Store
from tests.support.bodies import POLICIES, reward, score
from tests.support.nats_servers import nats_server
from tests.support.processes import Server
from tests.support.redis_servers import RedisServer, redis_server
from tests.support.service import service
from tests.support.standin import Asked, completion, http, stand_in
from tests.support.waiting import PATIENCE_SECONDS, until_async
from tests.unit.app.experiments.scene import gate, healthy, verdict

__all__ = ["Busy", "Scrape", "busy_service"]


class Scrape:
    """The metrics of `server` at this moment."""

    def __init__(self, server: Server, headers: dict[str, str] | None = None) -> None:
        # Not httpx: it reads all certificates of the system for each request of its own.
        with urllib.request.urlopen(urllib.request.Request(f"{server.url}/metrics", headers=headers or {})) as answer:
            self.text = answer.read().decode()
        self.families: list[Metric] = list(text_string_to_metric_families(self.text))
        self.samples = [sample for family in self.families for sample in family.samples]

    def has(self, name: str, **labels: str) -> bool:
        return any(one.name == name and labels.items() <= one.labels.items() for one in self.samples)

    def total(self, name: str, **labels: str) -> float:
        """The sum of all series of this name that have these labels."""
        assert self.has(name, **labels), f"{name} {labels} is not exposed"
        return sum(one.value for one in self.samples if one.name == name and labels.items() <= one.labels.items())


class Busy(msgspec.Struct, frozen=True):
    """The service and its Redis."""

    server: Server
    store: RedisServer


@asynccontextmanager
async def busy_service(**settings: str) -> AsyncIterator[Busy]:
    """A service that decided, learned, generated, failed to, and handled events of every fate."""
    replies = iter([completion("no array"), completion('[{"content": "Walk."}]')])

    async def answer(_: Asked) -> bytes:
        reply = next(replies, None)
        return http(reply) if reply else http(b"{}", "500 Internal Server Error")

    with redis_server() as store, nats_server() as events:
        async with stand_in(answer) as proxy:
            environ = {
                "REDIS_URL": store.url,
                "STORE_TIMEOUT_SECONDS": "30",  # a Redis that is slow is tried again and counted as trouble
                "NATS_URL": events.url,
                "NATS_CREATE_STREAMS": "1",
                "LITELLM_URL": proxy.url,
                "LITELLM_MASTER_KEY": "sk-1",
            }
            await _judge(store)
            with service(environ | settings) as server:
                await _keep_busy(server, events)
                yield Busy(server, store)


async def _judge(store: RedisServer) -> None:
    """As if the log of the loop had been judged."""
    found = Store(
        open_servers(store.url, size=1, timeout=PATIENCE_SECONDS),
        timeout=PATIENCE_SECONDS,
        history_size=1,
        marker_seconds=1,
    )
    known = continued(healthy(), verdict(gate(-0.1, 0.3, needed=700)).evidence, None)
    await found.loops.keep_evidence("tips", b"", lambda _: encode(known))
    await found.close()


async def _keep_busy(server: Server, events: Server) -> None:
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE_SECONDS) as client:
        for path in POLICIES.values():
            for number in range(20):
                assert (await client.post(f"/score{path}", json=score(f"user-{number}"))).status_code == 200
                value = (-1.0, -0.5, 0.0, 0.5, 1.0)[number % 5]
                assert (await client.post(f"/reward{path}", json=reward(f"user-{number}", value))).status_code == 200
            assert (await client.get(f"/stats{path}/user-1")).status_code == 200
            for _ in range(2):
                once = await client.post(f"/reward{path}", json=reward(), headers={"Idempotency-Key": "k"})
                assert once.status_code == 200
        # A canary that was: its share, 0, stays.
        canary = {"canary": {"policy": "tips-v3", "share": 0.1}, "because": "a test"}
        for state, body in enumerate((canary, {"champion": "egreedy-v1"})):
            changed = await client.put("/loops/tips", json=body, headers={"If-Match": f"{state}"})
            assert changed.status_code == 200
        assert (await client.post("/score", content=b"{")).status_code == 422
        assert (await client.get("/nowhere")).status_code == 404
        assert (await client.post("/generate", json={"user_id": "ann"})).status_code == 200
        assert (await client.post("/generate", json={"user_id": "ann"})).status_code == 502

        async def running() -> bool:
            consumers = (await client.get("/health")).json()["nats"]["consumers"]
            return {(one["state"], one["problem"]) for one in consumers.values()} == {("running", None)}

        await until_async(running, "both consumers run, and dead letters are taken")
        connection = await nats.connect(events.url)
        jetstream = connection.jetstream(timeout=PATIENCE_SECONDS)
        for body in (json.dumps({"user_id": "ann", "tasks": 3}).encode(), b"not JSON"):
            await jetstream.publish("signals.task.synced", body)
        await jetstream.publish("feedback.other", b"")
        await connection.close()

        async def handled() -> bool:
            return await asyncio.to_thread(_handled, server)

        await until_async(handled, "the events are handled")


def _handled(server: Server) -> bool:
    seen = Scrape(server)
    wanted = {("signals", "processed"): 1, ("signals", "dead_lettered"): 1, ("feedback", "processed"): 1}
    return all(
        seen.has("oo_events_total", consumer=consumer, outcome=outcome)
        and seen.total("oo_events_total", consumer=consumer, outcome=outcome) == count
        for (consumer, outcome), count in wanted.items()
    )
