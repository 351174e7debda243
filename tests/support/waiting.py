"""Waiting in tests: poll a condition until a deadline, never pause for a fixed time."""

import asyncio
import time
from collections.abc import Awaitable, Callable

__all__ = ["PATIENCE_SECONDS", "ServerError", "until", "until_async"]

# Only a failing test waits so long; a busy machine must not make one fail.
PATIENCE_SECONDS = 60.0


class ServerError(RuntimeError):
    """A server is missing, did not become ready, or did not reach a state in time; the message ends with its log."""


def until(condition: Callable[[], object], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Poll `condition` until it is true; raise ServerError naming `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise ServerError(f"not within {seconds:g} s: {what}")
        time.sleep(0.01)


async def until_async(condition: Callable[[], Awaitable[object]], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Poll an awaitable `condition` until it is true; raise ServerError naming `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not await condition():
        if time.monotonic() > deadline:
            raise ServerError(f"not within {seconds:g} s: {what}")
        await asyncio.sleep(0.01)
