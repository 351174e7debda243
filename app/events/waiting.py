"""Waiting with pauses that grow, and for tasks that may not end."""

import asyncio
import random
from collections.abc import Coroutine, Iterable
from typing import Any

__all__ = ["end", "grow", "jitter", "within"]


def grow(pause: float, longest: float) -> float:
    """The pause after `pause`: twice as long, up to `longest`."""
    return min(2 * pause, longest)


def jitter(seconds: float) -> float:
    """About `seconds`, so that replicas do not all come at once."""
    return seconds * random.uniform(0.75, 1.25)  # noqa: S311 (spreads replicas, protects nothing)


async def end(tasks: Iterable[asyncio.Task[None]], patience: float) -> None:
    """Cancel tasks, after `patience` seconds again and again, until all have ended.

    A cancellation can get lost: in `asyncio.wait_for` before Python 3.12 if it comes together with the result, which
    nats-py waits for everywhere, and in nats-py itself. A TaskGroup would then wait for ever.
    """
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=patience)
        patience = 0.1


async def within(seconds: float, work: Coroutine[Any, Any, None]) -> None:
    """Do `work` in a task of its own, and end it after `seconds`. Raises what `work` raises, but no TimeoutError.

    For what a cancelled task does at its end: there `asyncio.timeout` of Python before 3.11.4 raises CancelledError
    when the time is over, and what should come next is left out.
    """
    task = asyncio.get_running_loop().create_task(work)
    try:
        await asyncio.wait([task], timeout=seconds)
    finally:
        await end([task], 0.1)
    if not task.cancelled():
        task.result()
