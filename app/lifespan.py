"""What is started and stopped with the process, and what it says at its start."""

import asyncio
import gc
import logging
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from litestar import Litestar

from app.events.consumers import Consumers
from app.http.access import Access
from app.http.draining import Draining
from app.observe.metrics import Metrics
from app.settings import Settings
from app.tips.chat import ChatClient
from state.errors import StoreError
from state.redis.advice import advise
from state.redis.connect import place
from state.redis.servers import Servers
from state.store import Store

if TYPE_CHECKING:
    from app.observe.tracing import Tracing


__all__ = ["Parts", "wait_replicas_of"]

_log: Final = logging.getLogger("oo")
_NOTE_SECONDS: Final = 10.0


class Parts(NamedTuple):
    """What is started and stopped with the process."""

    settings: Settings
    servers: Servers
    store: Store
    access: Access
    consumers: Consumers
    chat: ChatClient
    draining: Draining
    metrics: Metrics
    tracing: "Tracing | None"

    @asynccontextmanager
    async def lifespan(self, _: Litestar) -> AsyncIterator[None]:
        _say_what_is_risky(self.settings)
        self.access.say_if_nobody_is_let_in()
        _read_keys_again_on_hangup(self.access)
        self.draining.on_sigterm()
        self.consumers.start()
        background = [
            asyncio.create_task(_advise(self.servers, self.settings)),
            asyncio.create_task(self.metrics.keep_settled()),
            asyncio.create_task(_note_index(self.store)),
        ]
        # What is there at the start stays: the collector need not look at it again and again.
        gc.freeze()
        # Nor at requests in flight, which leave it nothing: with Python's 700 it would stop all else for a millisecond,
        # ten times a second, while tips are generated.
        gc.set_threshold(20_000)
        try:
            yield
        finally:
            for task in background:
                task.cancel()
            await self.consumers.stop(self.draining.seconds_left())
            await self.chat.aclose()
            await self.store.close()
            if self.tracing:
                await self.tracing.close()


def wait_replicas_of(settings: Settings) -> int | None:
    """How many replicas a write waits for; None if the servers decide."""
    return None if settings.redis_wait_replicas == "auto" else settings.redis_wait_replicas


def _say_what_is_risky(settings: Settings) -> None:
    if settings.redis_url.reveal() == "memory://":
        _log.warning("REDIS_URL is memory://: all state is in this process only and GONE when it stops")
    else:
        _log.info("Redis: %s", place(settings.redis_url.reveal()))
    if not settings.api_keys:
        _log.warning("API_KEYS is empty: everyone who can reach this service may use and reset it")
        if settings.rate_limit_per_second:
            _log.warning("RATE_LIMIT_PER_SECOND has no effect: without API_KEYS there is nobody to count for")


async def _advise(servers: Servers, settings: Settings) -> None:
    """Say what Redis is set up to lose, once it is there. It must not end the service, whatever happens to it."""
    if settings.redis_url.reveal() == "memory://":
        return
    try:
        await advise(servers, patience=settings.store_timeout_seconds, wait_replicas=wait_replicas_of(settings))
    except Exception:  # noqa: BLE001
        _log.exception("Redis could not be asked how it is set up")


async def _note_index(store: Store) -> None:
    """Have Redis remember since when idempotency keys are in their user's index, as soon as it answers."""
    while True:
        try:
            await store.note_index()
        except StoreError:
            await asyncio.sleep(_NOTE_SECONDS)
        else:
            return


def _read_keys_again_on_hangup(access: Access) -> None:
    if threading.current_thread() is threading.main_thread() and hasattr(signal, "SIGHUP"):
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, access.read_again)
        # app.__main__ held it back until now, and Ctrl-C from a worker.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP, signal.SIGINT})
