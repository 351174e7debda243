"""IPv6 and IPv4: one value of HOST serves both, and all that the service asks may have an IPv6 address."""

import json
import os
import subprocess
import sys

import httpx
import nats
import pytest

from tests.support.bodies import score
from tests.support.nats_servers import nats_server
from tests.support.processes import ROOT, free_port
from tests.support.redis_servers import redis_server
from tests.support.service import service
from tests.support.standin import Asked, completion, http, stand_in
from tests.support.waiting import PATIENCE_SECONDS, until, until_async

pytestmark = pytest.mark.anyio

IPV6 = "::1"
ASKED = {"user_id": "ann", "context": {}, "n": 1}


async def answer(_: Asked) -> bytes:
    return http(completion('[{"id": "a", "content": "Walk"}]'))


def healthcheck() -> list[str]:
    """The command by which a container looks at itself, from the Dockerfile."""
    after = (ROOT / "Dockerfile").read_text().partition("HEALTHCHECK ")[2]
    _, *words = json.loads(after.partition("CMD ")[2].splitlines()[0])
    return [sys.executable, *words]


async def test_both_families() -> None:
    """Served on 127.0.0.1 and on ::1 under HOST=::, by a Redis, a NATS and a language model that have IPv6 addresses
    only; the container's health check finds it whatever HOST is."""
    with redis_server(host=IPV6) as redis, nats_server(host=IPV6) as events:
        async with stand_in(answer, IPV6) as model:
            environ = {
                "HOST": "::",
                "REDIS_URL": redis.url,
                "NATS_URL": events.url,
                "NATS_CREATE_STREAMS": "1",
                "LITELLM_URL": model.url,
                "LITELLM_MASTER_KEY": "sk-1",
            }
            with service(environ) as server:
                for host in ("127.0.0.1", "[::1]"):
                    url = f"http://{host}:{server.port}"
                    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE_SECONDS) as client:
                        assert (await client.get("/health/ready")).status_code == 200
                        assert (await client.post("/score", json=score("ann"))).status_code == 200
                        assert (await client.post("/generate", json=ASKED)).json()["candidates"][0]["content"] == "Walk"

                        async def running(client: httpx.AsyncClient = client) -> bool:
                            consumers = (await client.get("/health")).json()["nats"]["consumers"]
                            return all(one["state"] == "running" for one in consumers.values())

                        await until_async(running, "events are taken")
                connection = await nats.connect(events.url)
                await connection.jetstream().publish("signals.task.synced", b'{"user_id": "ann"}')
                await connection.close()
                until(lambda: bool(redis.command("EXISTS", "oo:{ann}:sync")), "the event is written")
                assert f"one server at [::1]:{redis.port}" in server.log
                for host in ("::", "::1", "localhost", "0.0.0.0", "127.0.0.2"):
                    assert healthy(host, server.port) == 0, host
                assert healthy("::", free_port()) == 1


def healthy(host: str, port: int) -> int:
    environ = os.environ | {"HOST": host, "PORT": str(port), "http_proxy": "http://127.0.0.1:9"}
    return subprocess.run(healthcheck(), env=environ, capture_output=True, check=False).returncode
