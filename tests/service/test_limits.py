"""RATE_LIMIT_PER_SECOND: one count per key, over all replicas that share a Redis."""

import asyncio
from collections import Counter
from collections.abc import Iterator

import httpx
import pytest

from app.http.api_keys import make_key
from tests.support.bodies import score
from tests.support.processes import Server
from tests.support.redis_servers import RedisServer, redis_server
from tests.support.scrape import Scrape
from tests.support.service import service
from tests.support.waiting import until, until_async

pytestmark = pytest.mark.anyio

LIMIT = 20
ONE, ONE_LINE = make_key("one", "client")
# The same owner's next key: it is counted with the one before.
NEXT, NEXT_LINE = make_key("one", "client")
OTHER, OTHER_LINE = make_key("other", "client")
RATE = "oo:rate:one"
SETTINGS = {"API_KEYS": f"{ONE_LINE},{NEXT_LINE},{OTHER_LINE}", "RATE_LIMIT_PER_SECOND": str(LIMIT)}
# The service, but it waits for a count until it has it, so that no request is let in because the machine is busy.
PATIENT = """
import sys
from app import __main__
from app.http import access

access._LIMIT_SECONDS = 60
sys.exit(__main__.main())
"""


@pytest.fixture(scope="module")
def replicas(store: RedisServer) -> Iterator[list[Server]]:
    environ = {**SETTINGS, "REDIS_URL": store.url, "STORE_TIMEOUT_SECONDS": "60"}
    with service(environ, program=PATIENT) as one, service(environ, program=PATIENT) as two:
        yield [one, two]


def refusals(replicas: list[Server]) -> float:
    """How many requests they answered 429."""
    name, seen = "oo_http_request_seconds_count", [Scrape(server) for server in replicas]
    return sum(one.total(name, status="429") for one in seen if one.has(name, status="429"))


async def burst(replicas: list[Server], keys: list[str], count: int) -> list[httpx.Response]:
    """`count` scores at once, over the replicas and with the keys in turn."""
    async with httpx.AsyncClient(timeout=60) as client:
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
    # A window longer than the test: the first count of a window sets its end, so that is moved.
    store.command("SET", RATE, 0, "EX", 3_600)
    before = refusals(replicas)
    answers = await burst(replicas, [ONE, NEXT], 3 * LIMIT)
    assert Counter(answer.status_code for answer in answers) == {200: LIMIT, 429: 2 * LIMIT}
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.json() == {"detail": f"this key may send {LIMIT} requests per second"}
    assert refused.headers["Retry-After"] == "1"
    answers = await burst(replicas, [OTHER], LIMIT // 2)
    assert {answer.status_code for answer in answers} == {200}
    until(lambda: refusals(replicas) == before + 2 * LIMIT, "all refusals counted")


async def test_a_window_ends(store: RedisServer, replicas: list[Server]) -> None:
    """The count starts anew within a second after a window's first request."""
    store.command("SET", RATE, LIMIT)
    [answer] = await burst(replicas, [ONE], 1)
    assert answer.status_code == 429

    async def lasts_a_second() -> bool:
        """Not if it ended before it could be looked at."""
        store.command("DEL", RATE)
        [answer] = await burst(replicas, [ONE], 1)
        assert answer.status_code == 200
        left = int(store.command("PTTL", RATE))
        assert left <= 1_000
        return left > 0

    await until_async(lasts_a_second, "a window with an end")
    until(lambda: not store.command("EXISTS", RATE), "the window ended")


async def test_nobody_is_refused_because_redis_is_away() -> None:
    """While Redis does not answer or is gone, requests are let in after a moment, long before the store's time-out, and
    counted as unknown; those that need no state are served."""
    with redis_server() as store, service({**SETTINGS, "REDIS_URL": store.url, "STORE_TIMEOUT_SECONDS": "3600"}) as one:
        store.pause()
        headers = {"Authorization": f"Bearer {ONE}"}
        limits = httpx.Limits(max_keepalive_connections=0)  # a kept one may be closed when it is used again
        async with httpx.AsyncClient(base_url=one.url, headers=headers, timeout=60, limits=limits) as client:
            assert (await client.get("/prompts")).status_code == 200
            store.kill()
            assert (await client.get("/prompts")).status_code == 200
            assert (await client.post("/score", json=score())).status_code == 503
        assert Scrape(one).total("oo_rate_limit_unknown_total") == 3


async def test_without_a_limit_nothing_is_counted(real_redis: RedisServer) -> None:
    """By default no key is limited, and Redis is not asked."""
    environ = {"REDIS_URL": real_redis.url, "API_KEYS": ONE_LINE, "STORE_TIMEOUT_SECONDS": "60"}
    with service(environ) as server:
        answers = await burst([server], [ONE], 50)
        assert {answer.status_code for answer in answers} == {200}
        assert not real_redis.command("EXISTS", RATE)
