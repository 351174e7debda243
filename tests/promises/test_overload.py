"""More requests than the service takes on: they are refused at once, and those it took on are served as ever."""

import asyncio
import json
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import httpx
import pytest

from tests.support.bodies import reward, score
from tests.support.processes import Server
from tests.support.redis_servers import RedisServer, redis_server
from tests.support.service import service
from tests.support.waiting import until_async

pytestmark = pytest.mark.anyio

REFUSED = {"detail": "too many requests at once"}
# Longer than a frozen Redis is waited for, so that no request is answered because the machine is busy.
PATIENT = {"STORE_TIMEOUT_SECONDS": "600", "MAX_REQUEST_SECONDS": "600"}


@pytest.fixture
def store() -> Iterator[RedisServer]:
    """A Redis of the test's own, to be frozen."""
    with redis_server() as server:
        yield server
        server.resume()


@asynccontextmanager
async def clients(served: Server) -> AsyncIterator[httpx.AsyncClient]:
    """A client of one service that opens a connection for each request, and waits as long as those do."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    async with httpx.AsyncClient(base_url=served.url, timeout=600, limits=limits) as client:
        yield client


@pytest.mark.parametrize(
    ("settings", "most"),
    [({"MAX_INFLIGHT": "8"}, 8), ({"REDIS_POOL_SIZE": "4"}, 64)],
    ids=["as set", "sized from the pool"],
)
async def test_refused_at_once(store: RedisServer, settings: dict[str, str], most: int) -> None:
    """With Redis frozen `most` requests wait; all beyond are answered 503 before any of those, and probes still pass.
    Those that waited are served when Redis goes on."""
    with service({"REDIS_URL": store.url, **PATIENT, **settings}) as served:
        async with clients(served) as client:
            store.pause()
            order: list[str] = []

            async def ask(number: int) -> httpx.Response:
                answer = await client.post("/reward", json=reward(f"user-{number}"))
                order.append(answer.text)
                return answer

            asked = [asyncio.create_task(ask(number)) for number in range(most + 20)]
            await until_async(lambda: asyncio.sleep(0, len(order) >= 20), "the refusals")
            assert [json.loads(text) for text in order] == [REFUSED] * 20
            assert (await client.get("/health/live")).status_code == 200
            assert (await client.get("/metrics")).status_code == 200
            store.resume()
            answers = await asyncio.gather(*asked)
            assert order[20:] == ['{"ok":true}'] * most
            refused = [answer for answer in answers if answer.status_code != 200]
            assert [(answer.status_code, answer.headers["retry-after"]) for answer in refused] == [(503, "1")] * 20


async def test_nobody_waits_for_ever(store: RedisServer) -> None:
    """Those that wait for a frozen Redis are answered 503 in their time, and with Redis back all is well."""
    with service({"REDIS_URL": store.url, "MAX_INFLIGHT": "8"}) as served:
        async with clients(served) as client:
            store.pause()
            answers = await asyncio.gather(*(client.post("/reward", json=reward(f"user-{n}")) for n in range(8)))
            assert [answer.json() for answer in answers] == [{"detail": "Redis did not answer in time"}] * 8
            assert {(answer.status_code, answer.headers["retry-after"]) for answer in answers} == {(503, "1")}
            store.resume()
            await until_async(lambda: recovered(client), "served again")


async def recovered(client: httpx.AsyncClient) -> bool:
    return (await client.post("/reward", json=reward())).status_code == 200


async def test_what_is_taken_on_is_served(store: RedisServer) -> None:
    """Under far more requests than are taken on each is refused or served: none of those taken on is given up, and each
    reward acknowledged is counted."""
    with service({"REDIS_URL": store.url, "MAX_INFLIGHT": "8", **PATIENT}) as served:
        async with clients(served) as client:
            found: Counter[tuple[int, str]] = Counter()

            async def keep_asking() -> None:
                for _ in range(5):
                    answer = await client.post("/reward", json=reward())
                    found[answer.status_code, answer.text] += 1

            # However fast the service is: that there are too many is certain.
            store.pause()
            asking = [asyncio.create_task(keep_asking()) for _ in range(48)]
            await until_async(lambda: asyncio.sleep(0, len(found)), "the first refusal")
            store.resume()
            await asyncio.gather(*asking)
            assert found.keys() == {(200, '{"ok":true}'), (503, '{"detail":"too many requests at once"}')}
            stats = (await client.get("/stats/ann")).json()
            assert stats["reward_count"] == found[200, '{"ok":true}']


async def test_memory_is_bounded(store: RedisServer) -> None:
    """While no request can be finished, hundreds of others with large bodies leave no trace in memory."""
    large = score("ann") | {"padding": "x" * 500_000}
    with service({"REDIS_URL": store.url, "MAX_INFLIGHT": "8", **PATIENT}) as served:
        async with clients(served) as client:
            assert (await client.post("/score", json=large)).status_code == 200
            store.pause()
            waiting = {asyncio.create_task(client.post("/score", json=score())) for _ in range(9)}
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            assert [answer.result().json() for answer in done] == [REFUSED]
            before = megabytes(served)
            for _ in range(10):
                answers = await asyncio.gather(*(client.post("/score", json=large) for _ in range(40)))
                assert {answer.status_code for answer in answers} == {503}
            # Kept, they would be 200 MB.
            assert megabytes(served) - before < 60
            store.resume()
            assert {(await answer).status_code for answer in waiting} == {200}


def megabytes(server: Server) -> float:
    """The memory that a process occupies."""
    shown = subprocess.run(["ps", "-o", "rss=", "-p", str(server.pid)], check=True, capture_output=True, text=True)
    return int(shown.stdout) / 1024
