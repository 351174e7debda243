"""The clients of `./dev chaos` that decide know what must stand after each answer, also when others were lost."""

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.decisions import replica
from tests.support.redis_servers import RedisServer
from tests.system.chaos.__main__ import holding
from tests.system.chaos.clients import USERS
from tests.system.chaos.commands import settle
from tests.system.chaos.deciding import Talk
from tests.system.chaos.judge import judge
from tests.system.chaos.ledger import Ledger
from tests.system.chaos.loops import FILE
from tests.system.chaos.telling import Reply, SurprisedError, Telling


def telling(*replies: tuple[int, dict[str, Any]]) -> tuple[Telling, Ledger]:
    """A client about a deferred decision in the loop `strict`, to which these replies come one after the other."""
    rest, ledger = iter([(200, {"candidate_id": "d1-0", "decision_id": "d1.YW5u"}), *replies]), Ledger()

    async def ask(method: str, path: str, body: Any = None, key: str | None = None) -> Reply:
        return Reply(*next(rest), replayed=False)

    class Calm(random.Random):
        def random(self) -> float:  # nothing is repeated or contradicted
            return 0.999

    return Telling(Calm(1), ask, ledger, user="ann", name="d1", loops=["strict"]), ledger


def test_a_held_reward_whose_answer_came_after_the_window() -> None:
    """The first request was in time and its answer was lost: the repeat tells that the decision is void by then."""
    void = {"outcome": "duplicate", "status": "void", "reward": None, "n": 2}
    client, ledger = telling((200, void))

    async def scenario() -> None:
        await client._decide(defer=True)
        await client._reward()

    asyncio.run(scenario())
    made = ledger.decisions["d1"]
    assert (made.status, made.reward, made.updates, made.n, ledger.surprises) == ("void", None, 0, 2, {})


@pytest.mark.parametrize(("n", "outcomes"), [(2, 2), (3, 3)])
def test_a_held_reward_that_was_corrected_before_it_was_void(n: int, outcomes: int) -> None:
    """The repeat of a correction is refused; whether the first request was in time is asked for."""
    held = {"outcome": "held", "status": "deferred", "n": 1}
    client, ledger = telling((200, held), (409, {"status": "void", "recorded": None}), (200, {"n": n}))

    async def scenario() -> None:
        await client._decide(defer=True)
        client._value = lambda: 0.5  # type: ignore[method-assign]
        held["reward"] = 0.5
        await client._reward()
        await client._correct()

    asyncio.run(scenario())
    made = ledger.decisions["d1"]
    assert (made.status, made.reward, made.n, ledger.surprises) == ("void", None, outcomes, {})
    assert ledger.told["corrections"] == n - 2


def test_a_window_that_is_over_before_a_correction() -> None:
    """What is void by then is not corrected: that would be refused."""
    void = {"outcome": "duplicate", "status": "void", "reward": None, "n": 2}
    replies: Iterator[tuple[int, dict[str, Any]]] = iter(
        [
            (200, {"candidate_id": "d1-0", "decision_id": "d1.YW5u"}),
            (200, void),
            (409, {"status": "void", "recorded": None}),
        ]
    )
    ledger = Ledger()

    class Told(random.Random):
        def random(self) -> float:  # deferred, and told at once
            return 0.2

    async def ask(method: str, path: str, body: Any = None, key: str | None = None) -> Reply:
        if path.endswith("/cancel"):
            return Reply(200, {"status": "void", "reward": None, "n": 2}, replayed=False)
        return Reply(*next(replies), replayed=False)

    talk = Talk(Told(3), ask, ledger, user="ann", name="d1", loops=["strict"])
    asyncio.run(talk.begin())
    assert ledger.surprises == {}


def test_an_answer_that_must_not_be() -> None:
    """It is written down, and nothing more is said of the decision."""
    client, ledger = telling((200, {"outcome": "applied", "status": "rewarded", "reward": 9.0, "n": 1}))

    async def scenario() -> None:
        await client._decide(defer=True)
        with pytest.raises(SurprisedError):
            await client._reward()

    asyncio.run(scenario())
    [said] = ledger.surprises
    assert said.startswith("('rewarded', 9.0, 1) where ")


def test_what_becomes_of_decisions(real_redis: RedisServer, tmp_path: Path) -> None:
    """Without a fault each answer and each number is what the reference says, in every loop; one lie of the reference
    is noticed."""
    draw, ledger = random.Random(4), Ledger()

    async def scenario() -> None:
        async with replica(real_redis.url, tmp_path, FILE.read_text(), feature_history_size=10_000) as client:

            async def ask(method: str, path: str, body: Any = None, key: str | None = None) -> Reply:
                headers = {} if key is None else {"Idempotency-Key": key}
                for _ in range(draw.choice((1, 1, 2))):  # the first answer may be lost
                    answer = await client.request(method, path, json=body, headers=headers)
                return Reply(answer.status_code, answer.json(), "idempotent-replayed" in answer.headers)

            talks = [
                Talk(random.Random(number), ask, ledger, user=USERS[number % 2], name=f"d{number}")
                for number in range(60)
            ]
            await asyncio.gather(*(talk.begin() for talk in talks))
            # After this every window that ends is over.
            with real_redis.client() as reader:
                await asyncio.to_thread(settle, real_redis.url, reader, USERS)
            await asyncio.gather(*(talk.end() for talk in talks if talk.later is not None))

    asyncio.run(scenario())
    for made in ledger.decisions.values():
        if made.loop.default is not None:
            made.close()
    assert {made.status for made in ledger.decisions.values()} >= {"rewarded", "retracted", "defaulted", "void"}
    with real_redis.client() as reader:
        assert judge(ledger, holding(reader)).findings == []
        next(made for made in ledger.decisions.values() if made.status == "rewarded").tell(7)
        assert not judge(ledger, holding(reader)).right
