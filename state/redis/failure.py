"""What a failing Redis means, for how long to go on in spite of it, and what the log says of it."""

import asyncio
import logging
import os
import random
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from redis.asyncio.sentinel import MasterNotFoundError
from redis.exceptions import (
    AskError,
    AuthenticationError,
    ClusterDownError,
    MovedError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from state.errors import StoreUnavailable
from state.redis.servers import Servers, Where

__all__ = ["TROUBLE", "Outage", "cause", "pause_or_give_up", "raise_for", "reason"]

_log: Final = logging.getLogger("oo.store")

TROUBLE: Final = (RedisError, OSError, TimeoutError)
_MOVING: Final = (MovedError, AskError, TryAgainError, ClusterDownError)
# Failures before Redis counts as away.
_FAILURES: Final = 3
# Between two log lines about the same outage, and without a failure until it counts as over.
_SAY_SECONDS: Final = 10.0
_OVER_SECONDS: Final = 1.0
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
    if isinstance(error, ResponseError | AuthenticationError):
        return f"Redis refuses: {type(error).__name__}"
    if isinstance(error, TimeoutError):
        return "Redis did not answer in time"
    return "Redis cannot be reached"


def cause(error: BaseException | None) -> str:
    """The server's address and what the system said of the connection, in brackets, for the log alone; "" if nothing.

    It has an address, and no credentials.
    """
    where: Where | None = None
    words = ""
    while error is not None:
        words = words or _words(error)
        where = where or next((note for note in getattr(error, "__notes__", ()) if isinstance(note, Where)), None)
        error = error.__cause__ or error.__context__
    if where is not None and where.tls and not words:
        words = "the TLS handshake was not finished: does this port speak TLS?"
    said = ": ".join(part for part in (where, words) if part)
    return said and f" ({said})"


def _words(error: BaseException) -> str:
    """What went wrong with a connection; of exceptions whose own words may hold credentials none are taken."""
    match error:
        case MasterNotFoundError():
            return "no sentinel that answers knows a master"
        case ssl.SSLCertVerificationError():
            return f"the TLS handshake failed: {error.verify_message}"
        case ssl.SSLError():
            return f"the TLS handshake failed: {error.reason or type(error).__name__}"
        case socket.gaierror():
            return "its name is not known"
        case OSError(errno=int(number)) if number:
            return os.strerror(number)
    return ""


class Outage:
    """Tells the log that Redis fails, now and then while it does, and that it no longer does."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said = -_SAY_SECONDS
        self._failed: float | None = None

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Around what Redis is asked: a StoreUnavailable is noted, and so is that there is none."""
        try:
            yield
        except StoreUnavailable as error:
            self.note(error)
            raise
        self.note(None)

    def note(self, error: Exception | None) -> None:
        """What Redis was asked last ended in `error`, or was answered."""
        if error is None and self._failed is None:
            return
        now = self._clock()
        if error is None:
            if self._failed is not None and now >= self._failed + _OVER_SECONDS:
                self._failed = None
                _log.warning("Redis answers again")
        elif isinstance(error, StoreUnavailable):
            self._failed = now
            if now >= self._said + _SAY_SECONDS:
                self._said = now
                _log.warning("%s%s: requests are answered 503", error, cause(error))
