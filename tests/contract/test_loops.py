"""Who serves the loops, on every kind of store: one change at a time, and all replicas follow."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.decision_log.lines import State, decode
from app.experiments.change import Changer, Wanted
from app.experiments.errors import Stale
from app.experiments.following import Following
from app.policies.catalog import catalog
from app.policies.plan import Plans
from state import keys
from state.redis.exchange import exchange
from state.store import Store
from tests.support.decisions import POLICIES, Servers, one_memory, replica
from tests.support.redis_groups import redis_cluster
from tests.support.redis_servers import redis_server
from tests.support.waiting import PATIENCE_SECONDS, until_async

pytestmark = pytest.mark.anyio
CATALOG = catalog(POLICIES)


@pytest.fixture(scope="module", params=["memory", "redis", "cluster"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    match request.param:
        case "memory":
            yield "memory://"
        case "redis":
            with redis_server() as server:
                yield server.url
        case _:
            with redis_cluster("--cluster-node-timeout", "60000") as cluster:
                yield cluster.url


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with one_memory() as found:
        yield found


@pytest.fixture(scope="module")
async def three(
    url: str, servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[list[httpx.AsyncClient]]:
    """Replicas."""
    directory: Path = tmp_path_factory.mktemp("policies")
    async with AsyncExitStack() as stack:
        found = [await stack.enter_async_context(replica(url, directory)) for _ in range(3)]
        for client in found:
            await until_async(partial(_is_ready, client), "a replica ready")
        yield found


async def _is_ready(client: httpx.AsyncClient) -> bool:
    return (await client.get("/health/ready")).status_code == 200


def canary(share: float) -> dict[str, Any]:
    return {"canary": {"policy": "watches", "share": share}, "because": "a test"}


async def put(client: httpx.AsyncClient, loop: str, state: int, body: dict[str, Any]) -> httpx.Response:
    return await client.put(f"/loops/{loop}", json=body, headers={"If-Match": f'"{state}"'})


async def test_of_three_at_once_one_wins(three: list[httpx.AsyncClient]) -> None:
    """For each state number exactly one change is made, whoever asks; the others are told which state there is."""
    for state in range(6):
        shares = [(3 * state + place + 1) / 100 for place in range(3)]
        answers = await asyncio.gather(
            *(put(client, "plain", state, canary(share)) for client, share in zip(three, shares, strict=True))
        )
        assert sorted(answer.status_code for answer in answers) == [200, 412, 412]
        for answer in answers:
            if answer.status_code == 412:
                assert answer.json()["detail"].startswith(f"the state of the loop is {state + 1}:")
        [won] = [share for answer, share in zip(answers, shares, strict=True) if answer.status_code == 200]
        for client in three:
            loop = (await client.get("/loops/plain")).json()
            assert (loop["state"], loop["canary"]["share"]) == (state + 1, won)
    assert [each["state"] for each in loop["changes"]] == [6, 5, 4, 3, 2, 1]


async def test_the_others_follow(three: list[httpx.AsyncClient]) -> None:
    """By themselves: what each would say of who serves, and what decisions say of the state they were made in."""
    first, *others = three

    async def all_say(number: int) -> bool:
        said = [
            loop["state"]
            for client in others
            for loop in (await client.get("/loops")).json()["loops"]
            if loop["loop"] == "books"
        ]
        return said == [number] * len(others)

    for number, body in enumerate(({"champion": "fades", "because": "a test"}, canary(0.5), {"back": True}), 1):
        assert (await put(first, "books", number - 1, body)).status_code == 200
        await until_async(lambda: all_say(number), "all replicas follow")  # noqa: B023  # awaited at once
        for client in three:
            sent = {"user_id": "ann", "loop": "books", "candidates": [{"id": "a"}, {"id": "b"}]}
            made = (await client.post("/decisions", json=sent)).json()
            kept = (await client.get(f"/decisions/{made['decision_id']}")).json()
            assert kept["state"] == number
            assert kept["policy"] in (("fades", "watches") if number == 2 else ("fades",))
            assert (kept["canary"] is not None) == (number == 2)
            assert set(kept["by_policy"]) == {"serves", "watches", "fades"}


async def test_the_log_is_told_with_the_change(url: str, servers: Servers) -> None:
    """In one transaction, on a Cluster too: replicas that race write a line for each state, and none besides."""
    stores = [Store(servers.open(url), timeout=PATIENCE_SECONDS, history_size=1, marker_seconds=60) for _ in range(3)]
    changers = []
    for store in stores:
        following = Following(store.loops, lambda: CATALOG)
        changers.append(Changer(store.loops, following, logs=True))
    plan = Plans(lambda: CATALOG)["sums"]

    async def change(place: int, number: int) -> bool:
        champion = ("watches", "fades", "serves")[(number + place) % 3] if place else ("watches", "fades")[number % 2]
        try:
            await changers[place].change(plan, Wanted(number=number, who=f"{place}", champion=champion, because="x"))
        except Stale:
            return False
        return True

    async def number() -> int:
        await following.refresh()
        return following.number("sums")

    try:
        while (at := await number()) < 8:
            await asyncio.gather(*(change(place, at) for place in range(3)))
        found = [decode(one.line) async for page in stores[0].outbox.left(10**15) for one in page]
        lines = [line for line in found if isinstance(line, State) and line.loop == "sums"]
        assert [line.seq for line in lines] == list(range(1, at + 1))
        assert len({line.epoch for line in lines}) == 1
        audit = await changers[0].audit("sums")
        assert [line.change["who"] for line in lines] == [each.who for each in audit][::-1]
        async with stores[0]._servers.connection(keys.LOOPS) as connection:
            outbox = keys.outbox_of_loops(in_slots=not stores[0]._servers.spans_users)
            [length] = await exchange(connection, [("XLEN", outbox)])
        assert length >= len(lines)
    finally:
        if url != "memory://":
            for store in stores:
                await store.close()
