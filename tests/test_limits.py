"""RATE_LIMIT_PER_SECOND: one count per key, over all replicas that share a Redis."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator

import httpx
import pytest

from app.access import make_key
from tests.bodies import score
from tests.scrape import Scrape
from tests.servers import RedisServer, Server, redis_server, service, until_async

pytestmark = pytest.mark.anyio

LIMIT = 20
ONE, ONE_LINE = make_key("one", "client")
# The same owner's next key: it is counted with the one before.
NEXT, NEXT_LINE = make_key("one", "client")
OTHER, OTHER_LINE = make_key("other", "client")
RATE = "oo:rate:one"


@pytest.fixture(scope="module")
def store() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server
        server.resume()


@pytest.fixture(scope="module")
def replicas(store: RedisServer) -> Iterator[list[Server]]:
    environ = {
        "REDIS_URL": store.url,
        "API_KEYS": f"{ONE_LINE},{NEXT_LINE},{OTHER_LINE}",
        "RATE_LIMIT_PER_SECOND": str(LIMIT),
    }
    with service(environ) as first, service(environ) as second:
        yield [first, second]


async def burst(replicas: list[Server], keys: list[str], count: int) -> list[httpx.Response]:
    """`count` scores at once, over the replicas and with the keys in turn."""
    async with httpx.AsyncClient(timeout=20) as client:
        return await asyncio.gather(
            *(
                client.post(
                    f"{replicas[number % len(replicas)].url}/score",
                    json=score(f"user-{number}"),
                    headers={"Authorization": f"Bearer {keys[number // 2 % len(keys)]}"},
                )
                for number in range(count)
            )
        )


async def test_the_limit_is_exact_over_replicas(store: RedisServer, replicas: list[Server]) -> None:
    """Of many requests in one window as many pass as the limit says, whichever replica and whichever of an owner's
    keys; the others are told when to come again. Another owner's key has a count of its own."""
    # A window as long as the test: the first count of a window sets its end, so that is moved.
    store.command("SET", RATE, 0, "EX", 60)
    answers = await burst(replicas, [ONE, NEXT], 3 * LIMIT)
    assert Counter(answer.status_code for answer in answers) == {200: LIMIT, 429: 2 * LIMIT}
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.json() == {"detail": f"this key may send {LIMIT} requests per second"}
    assert refused.headers["Retry-After"] == "1"
    answers = await burst(replicas, [OTHER], LIMIT // 2)
    assert {answer.status_code for answer in answers} == {200}
    counted = [Scrape(server).total("oo_http_request_seconds_count", status="429") for server in replicas]
    assert sum(counted) == 2 * LIMIT


async def test_a_window_ends(store: RedisServer, replicas: list[Server]) -> None:
    """The count starts anew within a second after a window's first request."""
    store.command("SET", RATE, LIMIT)
    [answer] = await burst(replicas, [ONE], 1)
    assert answer.status_code == 429
    store.command("DEL", RATE)
    [answer] = await burst(replicas, [ONE], 1)
    assert answer.status_code == 200
    assert 0 < int(store.command("PTTL", RATE)) <= 1_000

    async def gone() -> bool:
        return not store.command("EXISTS", RATE)

    await until_async(gone, "the window ended")


async def test_nobody_is_refused_because_redis_is_away(store: RedisServer, replicas: list[Server]) -> None:
    """While Redis does not answer or is gone, requests are let in after a moment and counted as unknown; those that
    need no state are served."""
    store.pause()
    headers = {"Authorization": f"Bearer {ONE}"}
    async with httpx.AsyncClient(base_url=replicas[0].url, headers=headers, timeout=20) as client:
        started = time.monotonic()
        assert (await client.get("/prompts")).status_code == 200
        assert time.monotonic() - started < 1.5
        store.kill()
        assert (await client.get("/prompts")).status_code == 200
        assert (await client.post("/score", json=score())).status_code == 503
    assert Scrape(replicas[0]).total("oo_rate_limit_unknown_total") == 3
    store.start()


async def test_without_a_limit_nothing_is_counted(store: RedisServer) -> None:
    """By default no key is limited, and Redis is not asked."""
    with service({"REDIS_URL": store.url, "API_KEYS": ONE_LINE}) as server:
        answers = await burst([server], [ONE], 50)
        assert {answer.status_code for answer in answers} == {200}
        assert not store.command("EXISTS", RATE)
