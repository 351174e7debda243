"""Decisions go first: other work waits for them, in turn and for a bounded time."""

import asyncio
import gc
import json
from collections.abc import AsyncIterator
from typing import Any, cast

import httpx
import pytest

from app.main import create_app
from app.precedence import LARGE, SLICE, Precedence
from app.settings import Secret, Settings
from tests.support.bodies import POLICIES, reward, score
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.anyio


async def turns(count: int) -> None:
    """Let everything run that can."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_waits_for_all_decisions() -> None:
    """Work that gives way goes on when the last decision is done, and not before."""
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
    """Under constant decisions other work waits only as long as allowed."""
    precedence = Precedence(longest_seconds=0.001)
    async with asyncio.timeout(PATIENCE_SECONDS):
        with precedence:
            await asyncio.gather(*(precedence.give_way() for _ in range(20)))


async def test_one_at_a_time() -> None:
    """Of many tasks that give way, one runs in each turn of the loop."""
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
    """A task that is cancelled while giving way does not block the others."""
    precedence = Precedence(longest_seconds=PATIENCE_SECONDS)
    with precedence:
        first, second = (asyncio.create_task(precedence.give_way()) for _ in range(2))
        await turns(20)
        first.cancel()
        await turns(20)
    await second
    assert first.cancelled()


async def test_slices_are_begun_in_order_and_give_way() -> None:
    """All of a slice are begun before any goes on; the next slice waits for the decisions in hand."""
    precedence = Precedence(longest_seconds=PATIENCE_SECONDS)
    with precedence:
        pass
    begun: list[int] = []
    may_end = asyncio.Event()

    async def one(number: int) -> int:
        begun.append(number)
        await may_end.wait()
        return -number

    work = asyncio.create_task(precedence.in_slices(one, range(SLICE + 1)))
    await turns(20)
    assert begun == list(range(SLICE))
    with precedence:
        may_end.set()
        await turns(20)
        assert len(begun) == SLICE
    assert await work == [-number for number in range(SLICE + 1)]


async def test_slices_are_large_while_no_decision_comes() -> None:
    """From the start on, and again when none has come for a second; the slice after one that came is small."""
    now, begun, sizes = [0.0], list[int](), list[int]()
    precedence = Precedence(clock=lambda: now[0])

    async def one(number: int) -> None:
        begun.append(number)
        await asyncio.sleep(0)
        if begun:  # all of the slice have begun
            sizes.append(len(begun))
            begun.clear()
        if number == LARGE + SLICE:
            with precedence:
                now[0] += 0.5

    await precedence.in_slices(one, range(LARGE + 1))
    assert sizes == [LARGE, 1]
    with precedence:
        pass
    sizes.clear()
    await precedence.in_slices(one, range(2 * SLICE + 1))
    assert sizes == [SLICE, SLICE, 1]
    for seconds, size in ((0.9, SLICE), (0.2, 2 * SLICE)):
        now[0] += seconds
        sizes.clear()
        await precedence.in_slices(one, range(2 * SLICE))
        assert sizes[0] == size
    sizes.clear()
    # One comes in the second slice.
    await precedence.in_slices(one, range(3 * LARGE))
    assert sizes == [LARGE, LARGE, *[SLICE] * (LARGE // SLICE)]


async def test_what_nobody_expects_ends_a_slice(caplog: pytest.LogCaptureFixture) -> None:
    """All of it, and the slices after it are not begun; what is not raised is not logged either."""
    ended: list[int] = []

    async def one(number: int) -> None:
        try:
            await asyncio.sleep(0)
            if number % 2:
                raise KeyError(number)
            await asyncio.Event().wait()
        finally:
            ended.append(number)

    with pytest.raises(KeyError, match="1"):
        await Precedence().in_slices(lambda number: one(number + 1), range(LARGE + 1))
    await turns(5)
    gc.collect()
    assert sorted(ended) == list(range(1, LARGE + 1))
    assert caplog.records == []


async def test_a_slice_that_takes_long_holds_up_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when Redis fails; and who goes away takes what was begun along."""
    monkeypatch.setattr("app.precedence._SLICE_SECONDS", 0.0)
    precedence, stuck = Precedence(), asyncio.Event()
    hangs = asyncio.create_task(precedence.in_slices(lambda _: stuck.wait(), [1]))
    await turns(20)
    assert await precedence.in_slices(asyncio.sleep, [0]) == [None]
    monkeypatch.setattr("app.precedence._SLICE_SECONDS", PATIENCE_SECONDS)
    begun: list[asyncio.Future[None]] = []

    async def one(_: int) -> None:
        begun.append(asyncio.get_running_loop().create_future())
        await begun[-1]

    goes = asyncio.create_task(precedence.in_slices(one, [1]))
    await turns(20)
    goes.cancel()
    await turns(5)
    assert begun[0].cancelled()
    stuck.set()
    assert await hangs == [True]


class Watched(Precedence):
    """How many decisions are `in_hand`."""

    in_hand = 0

    def __enter__(self) -> None:
        self.in_hand += 1
        super().__enter__()

    def __exit__(self, *exception: object) -> None:
        self.in_hand -= 1
        super().__exit__(*exception)


@pytest.mark.parametrize("path", POLICIES.values())
@pytest.mark.parametrize(("verb", "asked"), [("score", score()), ("reward", reward())])
async def test_score_and_reward_are_decisions(
    monkeypatch: pytest.MonkeyPatch, verb: str, path: str, asked: dict[str, Any]
) -> None:
    """Each counts from when its body is complete until its answer; not before, since senders may be slow."""
    precedence = Watched()
    monkeypatch.setattr("app.main.Precedence", lambda: precedence)
    arriving: list[int] = []
    deciding: list[int] = []

    def clock() -> float:
        deciding.append(precedence.in_hand)
        return 1.8e9

    async def body() -> AsyncIterator[bytes]:
        whole = json.dumps(asked).encode()
        yield whole[:9]
        arriving.append(precedence.in_hand)
        yield whole[9:]

    transport = httpx.ASGITransport(cast("Any", create_app(Settings(redis_url=Secret("memory://")), clock=clock)))
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
        answer = await client.post(f"/{verb}{path}", content=body())
    assert answer.status_code == 200, answer.text
    assert (arriving, deciding, precedence.in_hand) == ([0], [1], 0)
