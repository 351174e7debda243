"""Waiting: pauses that grow, and tasks that ignore a cancellation."""

import asyncio

import pytest

from app.events.waiting import backoff, end, jitter, within
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.anyio


def test_pauses_grow_to_their_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice as long after each failure, up to the longest, for however many failures."""
    monkeypatch.setattr("app.events.waiting.jitter", lambda seconds: seconds)
    pauses = [backoff(failures, first=0.5, longest=5.0) for failures in (0, 1, 2, 3, 4, 10**9)]
    assert pauses == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]


def test_pauses_spread() -> None:
    """A quarter less or more."""
    for spread in [jitter(1.0) for _ in range(1_000)], [backoff(3, first=0.125, longest=9.0) for _ in range(1_000)]:
        assert 0.75 <= min(spread) < 0.85
        assert 1.15 < max(spread) <= 1.25


async def stubborn(cancellations: int) -> None:
    """Ends after so many cancellations."""
    for _ in range(cancellations):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            continue


async def test_end_cancels_until_all_have_ended() -> None:
    """A task that loses its first cancellation is cancelled again."""
    tasks = [asyncio.create_task(stubborn(times)) for times in (0, 1, 2)]
    await asyncio.sleep(0)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await end(tasks, 0.0)
    assert all(task.done() for task in tasks)


async def test_within() -> None:
    """Work that ends in time ends with its result or error; other work is cancelled without an error."""
    ran: list[int] = []

    async def work(error: Exception | None = None) -> None:
        ran.append(1)
        if error is not None:
            raise error

    await within(PATIENCE_SECONDS, work())
    with pytest.raises(OSError, match="broken"):
        await within(PATIENCE_SECONDS, work(OSError("broken")))
    await within(0.0, stubborn(1))
    assert ran == [1, 1]


async def test_within_a_cancelled_task() -> None:
    """What a cancelled task does at its end is bounded, and what comes after it is done."""
    steps: list[str] = []

    async def task() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await within(0.0, stubborn(1))
            steps.append("after")

    running = asyncio.create_task(task())
    await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait([running], timeout=PATIENCE_SECONDS)
    assert (steps, running.cancelled()) == (["after"], True)
