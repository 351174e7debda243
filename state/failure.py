"""What a failing Redis means, and for how long to go on in spite of it."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any, Final

from redis.exceptions import AskError, ClusterDownError, MovedError, RedisError, ResponseError, TryAgainError

from state.connect import Servers
from state.errors import StoreUnavailable

__all__ = ["TROUBLE", "pause_or_give_up", "raise_for", "reason"]

TROUBLE: Final = (RedisError, OSError, TimeoutError)
_MOVING: Final = (MovedError, AskError, TryAgainError, ClusterDownError)
# Failures before Redis counts as away.
_FAILURES: Final = 3
_jitter: Final = random.Random()  # noqa: S311  # it spreads replicas and protects nothing


async def pause_or_give_up(servers: Servers, error: BaseException, failures: int, deadline: float) -> None:
    """Look anew where the servers are and wait a little, or raise StoreUnavailable if it is no use any more.

    A slot on its way to another node is waited for as long as there is time.
    """
    await servers.refresh()
    pause = _jitter.uniform(0.5, 1.0) * 0.02 * 2 ** min(failures, 3)
    late = asyncio.get_running_loop().time() + pause >= deadline
    if late or isinstance(error, TimeoutError) or (failures >= _FAILURES and not isinstance(error, _MOVING)):
        raise StoreUnavailable(reason(error)) from error
    await asyncio.sleep(pause)


def raise_for(replies: Sequence[Any]) -> None:
    """Raise the first error reply that concerns all of the commands, not one key."""
    for reply in replies:
        if isinstance(reply, ResponseError) and not str(reply).startswith("WRONGTYPE"):
            raise reply


def reason(error: BaseException) -> str:
    """Why Redis did not answer, in words that show no address and no credentials."""
    if isinstance(error, ResponseError):
        return f"Redis refuses: {type(error).__name__}"
    if isinstance(error, TimeoutError):
        return "Redis did not answer in time"
    return "Redis cannot be reached"
