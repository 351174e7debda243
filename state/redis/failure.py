"""When Redis fails: which errors count, when to try again, and what the log and the caller are told."""

import asyncio
import logging
import os
import random
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from redis.asyncio.sentinel import MasterNotFoundError
from redis.exceptions import (
    AskError,
    AuthenticationError,
    ClusterDownError,
    InvalidResponse,
    MovedError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from state.errors import StoreUnavailable
from state.redis.servers import Servers, Where

__all__ = ["TROUBLE", "Outage", "as_unavailable", "cause", "pause_or_give_up", "reason"]

_log: Final = logging.getLogger("oo.store")

TROUBLE: Final = (RedisError, OSError, TimeoutError)
_MOVING: Final = (MovedError, AskError, TryAgainError, ClusterDownError)
# After so many failures a request is not tried again.
_FAILURES: Final = 3
# Seconds between two log lines about the same outage, and without a failure until it is over.
_SAY_SECONDS: Final = 10.0
_OVER_SECONDS: Final = 1.0
# How the log explains an error: by its class, or for other errors of Redis by how their text begins.
_BY_KIND: Final[tuple[tuple[type[Exception], str], ...]] = (
    (AuthenticationError, "it wants another name or password, or one at all"),
    (InvalidResponse, "what answers there is not Redis"),
    (MasterNotFoundError, "no sentinel that answers knows a master"),
    (OutOfMemoryError, "its memory is full"),
    (ReadOnlyError, "it is a replica"),
    (socket.gaierror, "the host name is unknown"),
)
_BY_TEXT: Final = (
    ("DB index", "it has no database of this number"),
    ("MISCONF ", "it cannot save to its disk"),
    ("NOREPLICAS ", "too few replicas follow it"),
)
_jitter: Final = random.Random()  # noqa: S311  # jitter, not a secret


async def pause_or_give_up(servers: Servers, error: BaseException, failures: int, deadline: float) -> None:
    """After a failure: look again where the servers are and wait a little, so that the caller can try again.

    `failures` counts this one too. Raises StoreUnavailable after too many, after a time limit, or if `deadline` (in the
    event loop's time) would pass. A slot that moves to another node is waited for until the deadline.
    """
    await servers.refresh()
    pause = _jitter.uniform(0.5, 1.0) * 0.02 * 2 ** min(failures, 3)
    late = asyncio.get_running_loop().time() + pause >= deadline
    if late or isinstance(error, TimeoutError) or (failures >= _FAILURES and not isinstance(error, _MOVING)):
        raise StoreUnavailable(reason(error), reads=_refuses_writes_alone(error)) from error
    await asyncio.sleep(pause)


@contextmanager
def as_unavailable() -> Iterator[None]:
    """Raise StoreUnavailable for any failure of Redis within the block; nothing is tried again."""
    try:
        yield
    except TROUBLE as error:
        raise StoreUnavailable(reason(error)) from error


def reason(error: BaseException) -> str:
    """Why Redis did not answer, without an address or credentials: clients may see it."""
    if isinstance(error, ResponseError | AuthenticationError):
        return f"Redis refuses: {type(error).__name__}"
    if isinstance(error, TimeoutError):
        return "Redis did not answer in time"
    return "Redis cannot be reached"


def _refuses_writes_alone(error: BaseException) -> bool:
    """Whether Redis can be read all the same. A replica can, too, but what it has may be old."""
    return isinstance(error, OutOfMemoryError) or (
        isinstance(error, ResponseError) and str(error).startswith(("MISCONF ", "NOREPLICAS "))
    )


def cause(error: BaseException | None) -> str:
    """The server's address and what failed in the connection, in brackets; "" if neither is known.

    For the log only, for it shows the address. It shows no credentials.
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
    """What failed in the connection. Texts of exceptions that may quote credentials are not used."""
    for kind, words in _BY_KIND:
        if isinstance(error, kind):
            return words
    match error:
        case ResponseError():
            return next((words for start, words in _BY_TEXT if str(error).startswith(start)), "")
        case ssl.SSLCertVerificationError():
            return f"the TLS handshake failed: {error.verify_message}"
        case ssl.SSLError():
            return f"the TLS handshake failed: {getattr(error, 'reason', None) or type(error).__name__}"
        case OSError(errno=int(number)) if number:
            return os.strerror(number)
    return ""


class Outage:
    """Logs when Redis fails, from time to time while that lasts, and when it answers again."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said = -_SAY_SECONDS
        self._failed: float | None = None
        self._reads = False

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Note how the block ends: in StoreUnavailable, or not. While only writes are refused, a read that
        succeeds is not logged."""
        try:
            yield
        except StoreUnavailable as error:
            self.note(error)
            raise
        self.note(None, wrote=False)

    def note(self, error: Exception | None, *, wrote: bool = True) -> None:
        """Note how the last request to Redis ended: with `error`, or None if it was done; `wrote`: writes and all."""
        if error is None and (self._failed is None or (self._reads and not wrote)):
            return
        now = self._clock()
        if error is None:
            if self._failed is not None and now >= self._failed + _OVER_SECONDS:
                self._failed, self._reads = None, False
                _log.warning("Redis answers again")
        elif isinstance(error, StoreUnavailable):
            self._failed, self._reads = now, error.reads
            if now >= self._said + _SAY_SECONDS:
                self._said = now
                _log.warning("%s%s: requests are answered 503", error, cause(error))
