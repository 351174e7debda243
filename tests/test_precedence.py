"""Decisions go first: who gives way waits for them, in turn, and not for ever."""

import asyncio
from typing import Any

import httpx
import pytest

from app.llm import connect
from app.precedence import Precedence
from app.prompts import Message
from app.settings import Secret
from tests.servers import PATIENCE_SECONDS
from tests.standin import completion

pytestmark = pytest.mark.anyio


async def turns(count: int) -> None:
    """Let everything run that can."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_waits_for_all_decisions() -> None:
    """Who gives way goes on when the last decision is done, and not before."""
    precedence = Precedence(longest_seconds=PATIENCE_SECONDS)
    with precedence:
        with precedence:
            waiting = asyncio.create_task(precedence.give_way())
            await turns(20)
        await turns(20)
        assert not waiting.done()
    await turns(5)
    assert waiting.done()


async def test_next_decision_counts() -> None:
    """A decision that begins as the last one ends is waited for too."""
    precedence = Precedence(longest_seconds=PATIENCE_SECONDS)
    with precedence:
        waiting = asyncio.create_task(precedence.give_way())
        await turns(20)
    with precedence:
        await turns(20)
        assert not waiting.done()
    await waiting


async def test_not_for_ever() -> None:
    """Decisions without an end hold nobody up for longer than they may."""
    precedence = Precedence(longest_seconds=0.001)
    async with asyncio.timeout(PATIENCE_SECONDS):
        with precedence:
            await asyncio.gather(*(precedence.give_way() for _ in range(20)))


async def test_one_at_a_time() -> None:
    """Of many that give way only one takes its step between two looks at what has arrived."""
    precedence = Precedence()
    steps: list[int] = []

    async def step(number: int) -> None:
        await precedence.give_way()
        steps.append(number)

    work = [asyncio.create_task(step(number)) for number in range(10)]
    while len(steps) < len(work):
        before = len(steps)
        await asyncio.sleep(0)
        assert len(steps) <= before + 1
    assert steps == list(range(10))


async def test_cancelled_one_leaves_its_turn() -> None:
    """Who is cancelled while giving way keeps no other from going on."""
    precedence = Precedence(longest_seconds=PATIENCE_SECONDS)
    with precedence:
        first, second = (asyncio.create_task(precedence.give_way()) for _ in range(2))
        await turns(20)
        first.cancel()
        await turns(20)
    await second
    assert first.cancelled()


async def test_call_gives_way() -> None:
    """No call to the language model is sent while a decision is in hand."""
    precedence = Precedence(longest_seconds=PATIENCE_SECONDS)
    asked: list[Any] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, content=completion("hello"))

    async with connect(
        url="http://llm.test",
        key=Secret("sk-test"),
        max_concurrency=1,
        queue_seconds=PATIENCE_SECONDS,
        transport=httpx.MockTransport(answer),
        precedence=precedence,
    ) as client:
        with precedence:
            calling = asyncio.create_task(client.chat([Message("user", "Hi")]))
            await turns(50)
            assert not asked
        assert (await calling).content == "hello"
