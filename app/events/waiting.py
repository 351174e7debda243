"""How long to wait between attempts, and how to end tasks that may ignore a cancellation."""

import asyncio
import random
from collections.abc import Coroutine, Iterable
from typing import Any

__all__ = ["backoff", "end", "jitter", "within"]


def backoff(failures: int, *, first: float, longest: float) -> float:
    """Seconds to wait after `failures` failed attempts (0 or more) before the last one.

    `first`, doubled for each of them, at most `longest`, with jitter.
    """
    return jitter(min(first * 2.0 ** min(failures, 64), longest))


def jitter(seconds: float) -> float:
    """`seconds`, up to a quarter more or less, so that replicas do not act at the same moment."""
    return seconds * random.uniform(0.75, 1.25)  # noqa: S311  # it spreads replicas and protects nothing


async def end(tasks: Iterable[asyncio.Task[None]], patience: float) -> None:
    """Cancel tasks and wait until all have ended; cancel them again after `patience` seconds, then every 0.1 s.

    One cancellation can get lost: in nats-py, and before Python 3.12 in `asyncio.wait_for`, which nats-py uses
    everywhere, if it comes together with the result. A TaskGroup would then wait forever.
    """
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=patience)
        patience = 0.1


async def within(seconds: float, work: Coroutine[Any, Any, None]) -> None:
    """Run `work` in a task of its own and cancel it after `seconds`. Raises what `work` raises, but no TimeoutError.

    Use it for the clean-up of a cancelled task: before Python 3.11.4 `asyncio.timeout` raises CancelledError there
    when the time is over, and the rest of the clean-up is skipped.
    """
    task = asyncio.get_running_loop().create_task(work)
    try:
        await asyncio.wait([task], timeout=seconds)
    finally:
        await end([task], 0.1)
    if not task.cancelled():
        task.result()
