"""Turns for calls: how many at once, how far apart, and how long one waits."""

import asyncio
from types import SimpleNamespace

import pytest

from app.tips.errors import LlmUnavailable
from app.tips.turns import Turns

pytestmark = pytest.mark.anyio


class Calls:
    """Calls that last until `go` is set."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.go = asyncio.Event()
        self.now = self.most = self.done = 0

    async def call(self) -> None:
        async with self.turns.turn():
            self.now += 1
            self.most = max(self.most, self.now)
            try:
                await self.go.wait()
            finally:
                self.now -= 1
        self.done += 1


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.tips.turns.SPACING_SECONDS", 0.0)


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_at_most_so_many_at_once() -> None:
    """Calls beyond the limit wait for their turn; all come to it."""
    calls = Calls(Turns(3, queue_seconds=60.0))
    work = [asyncio.create_task(calls.call()) for _ in range(10)]
    await settle()
    assert calls.now == 3
    calls.go.set()
    await asyncio.gather(*work)
    assert (calls.most, calls.done) == (3, 10)


async def test_queue_has_an_end() -> None:
    """A call whose turn does not come in time is unavailable; the others are not affected."""
    calls = Calls(Turns(1, queue_seconds=0.01))
    first = asyncio.create_task(calls.call())
    await settle()
    with pytest.raises(LlmUnavailable, match="too many calls to the LLM proxy at once") as caught:
        await calls.call()
    assert caught.value.retry_after == 1
    calls.go.set()
    await first
    await calls.call()
    assert calls.done == 2


async def test_cancelled_calls_free_their_turn() -> None:
    """Whether they wait in the queue, for their start, or run."""
    calls = Calls(Turns(2, queue_seconds=60.0))
    for _ in range(3):
        work = [asyncio.create_task(calls.call()) for _ in range(4)]
        await settle()
        assert calls.now == 2
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)
    calls.go.set()
    await asyncio.gather(calls.call(), calls.call())
    assert calls.done == 2


async def test_calls_start_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls made together start one after another, so that their answers do not arrive all at once."""
    waits: list[float] = []

    async def pause(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr("app.tips.turns.SPACING_SECONDS", 1_000.0)
    monkeypatch.setattr("app.tips.turns.asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": pause}))
    calls = Calls(Turns(10, queue_seconds=60.0))
    calls.go.set()
    await asyncio.gather(*(calls.call() for _ in range(10)))
    # So far apart that it does not matter how long the test takes.
    assert [round(seconds / 1_000) for seconds in waits] == list(range(1, 10))
