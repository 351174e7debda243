"""What starts and stops with the process, and what the process logs at its start."""

import asyncio
import gc
import logging
import random
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from litestar import Litestar

from app.decisions.settle import Settler
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
# Between two rounds of settling, from half to one and a half of it: replicas do not all come at once.
_SETTLE_SECONDS: Final = 30.0
_SETTLE_USERS: Final = 100


class Parts(NamedTuple):
    """The parts that start and stop with the process."""

    settings: Settings
    servers: Servers
    store: Store
    access: Access
    consumers: Consumers
    chat: ChatClient
    draining: Draining
    metrics: Metrics
    tracing: "Tracing | None"
    settler: Settler

    @asynccontextmanager
    async def lifespan(self, _: Litestar) -> AsyncIterator[None]:
        _warn_of_risks(self.settings)
        self.access.warn_if_locked()
        _read_keys_again_on_hangup(self.access)
        self.draining.on_sigterm()
        self.consumers.start()
        background = [
            asyncio.create_task(_advise(self.servers, self.settings)),
            asyncio.create_task(self.metrics.keep_settled()),
            asyncio.create_task(_note_index(self.store)),
            asyncio.create_task(_settle(self.settler)),
        ]
        # What exists at the start stays: the garbage collector need not visit it again and again.
        gc.freeze()
        # Requests leave no cycles. With Python's default of 700 a collection would stop everything for a millisecond,
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
    """How many replicas a write waits for; None if that depends on the kind of Redis."""
    return None if settings.redis_wait_replicas == "auto" else settings.redis_wait_replicas


def _warn_of_risks(settings: Settings) -> None:
    if settings.redis_url.reveal() == "memory://":
        _log.warning("REDIS_URL is memory://: all state is in this process only and is LOST when it stops")
    else:
        _log.info("Redis: %s", place(settings.redis_url.reveal()))
    if not settings.api_keys:
        _log.warning("API_KEYS is empty: everyone who can reach this service may use and reset it")
        if settings.rate_limit_per_second:
            _log.warning("RATE_LIMIT_PER_SECOND has no effect: it counts requests per API key, and API_KEYS is empty")


async def _advise(servers: Servers, settings: Settings) -> None:
    """Warn of what Redis may lose as it is configured, once it answers. No failure of this ends the service."""
    if settings.redis_url.reveal() == "memory://":
        return
    try:
        await advise(servers, patience=settings.store_timeout_seconds, wait_replicas=wait_replicas_of(settings))
    except Exception:  # noqa: BLE001  # advice must not end the service
        _log.exception("cannot ask Redis how it is configured")


async def _note_index(store: Store) -> None:
    """Have Redis remember since when idempotency keys are indexed by user, as soon as it answers."""
    while True:
        try:
            await store.note_index()
        except StoreError:
            await asyncio.sleep(_NOTE_SECONDS)
        else:
            return


async def _settle(settler: Settler) -> None:
    """Settle users who do not return, some at a time. No failure of this ends the service."""
    chance = random.Random()  # noqa: S311  # jitter
    while True:
        await asyncio.sleep(chance.uniform(0.5, 1.5) * _SETTLE_SECONDS)
        try:
            for problem in (await settler.some(_SETTLE_USERS)).failed:
                _log.warning("decisions cannot be settled: %s", problem)
        except StoreError:  # the store logs outages
            continue
        except Exception:  # noqa: BLE001  # whatever it is, requests are served
            _log.exception("settling failed")


def _read_keys_again_on_hangup(access: Access) -> None:
    if threading.current_thread() is threading.main_thread() and hasattr(signal, "SIGHUP"):
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, access.read_again)
        # app.__main__ has blocked SIGHUP until now, and in a worker SIGINT too.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP, signal.SIGINT})
