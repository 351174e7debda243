"""What starts and stops with the process, and what the process logs at its start."""

import asyncio
import gc
import logging
import random
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from litestar import Litestar

from app.decision_log.publish import Publisher
from app.decisions.settle import Settler
from app.events.consumers import Consumers
from app.experiments.following import Following
from app.experiments.watching import Watching
from app.http.access import Access
from app.http.draining import Draining
from app.learning.models import Models
from app.learning.priors import Priors
from app.observe.metrics import Metrics
from app.personalizer.following import Followed
from app.serving import Serving
from app.settings import Settings
from app.tips.chat import ChatClient
from state.errors import StoreError, StoreUnavailable
from state.redis.advice import advise
from state.redis.connect import place
from state.redis.memory import memory
from state.redis.servers import Servers
from state.store import Store

if TYPE_CHECKING:
    from app.observe.tracing import Tracing


__all__ = ["Parts", "SharedState", "wait_replicas_of"]

_log: Final = logging.getLogger("oo")
_NOTE_SECONDS: Final = 10.0
_CANCEL_AGAIN_SECONDS: Final = 0.1
# Seconds between two looks at the priors, and how many looks there are between two publications of the columns.
_LOOK_SECONDS: Final = 30.0
_LOOKS: Final = 120
# Between two rounds of settling, from half to one and a half of it: replicas do not all come at once.
_SETTLE_SECONDS: Final = 30.0
_SETTLE_USERS: Final = 100
# For lines of the log that this process has written and not published yet.
_PUBLISH_SECONDS: Final = 3.0
_WEIGH_SECONDS: Final = 15.0
_jitter: Final = random.Random()  # noqa: S311  # jitter, not a secret


class SharedState(NamedTuple):
    """What this process shares with other replicas through Redis, apart from users. `clock` gives Unix seconds."""

    serving: Serving
    models: Models
    priors: Priors
    clock: Callable[[], float]

    async def keep(self) -> None:
        """Follow the priors, and publish the policies and columns: at the start, after a change, and every hour, since
        Redis may lose them and columns that no replica had for long may be removed. No failure ends this."""
        left = 0  # looks until they are published again
        while True:
            seconds = _jitter.uniform(0.8, 1.2) * _LOOK_SECONDS
            try:
                if self.serving.changed.is_set():
                    self.serving.changed.clear()
                    left = 0
                await self.priors.refresh()
                if left <= 0:
                    left = _LOOKS
                    await self.models.publish(int(self.clock()))
            except StoreUnavailable:  # the store logs it
                left, seconds = 0, _NOTE_SECONDS
            except Exception:  # noqa: BLE001  # whatever it is, decisions go on
                _log.exception("cannot read the priors or publish the columns of models")
            left -= 1
            await self.wait(seconds)

    async def wait(self, seconds: float) -> None:
        """Wait so long, or until another policy file serves."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.serving.changed.wait()


class Background(NamedTuple):
    """The tasks that run beside the requests."""

    shared: SharedState
    following: Following
    watching: Watching
    settler: Settler
    publisher: Publisher | None
    personalizer: Followed | None = None

    def optional(self) -> list[asyncio.Task[None]]:
        """The tasks of what only some installations have: a log, and Azure Personalizer's clients."""
        tasks = [] if self.publisher is None else [asyncio.create_task(self.publisher.run())]
        return tasks if self.personalizer is None else [*tasks, asyncio.create_task(self.personalizer.keep())]


class Parts(NamedTuple):
    """The parts that start and stop with the process."""

    settings: Settings
    servers: Servers
    store: Store
    background: Background
    access: Access
    serving: Serving
    consumers: Consumers
    chat: ChatClient
    draining: Draining
    metrics: Metrics
    tracing: "Tracing | None"

    @asynccontextmanager
    async def lifespan(self, _: Litestar) -> AsyncIterator[None]:
        _warn_of_risks(self.settings)
        self.access.warn_if_locked()
        self._read_again_on_hangup()
        self.draining.on_sigterm()
        self.consumers.start()
        background = [
            asyncio.create_task(_advise(self.servers, self.settings)),
            asyncio.create_task(self.metrics.keep_settled()),
            asyncio.create_task(_note_index(self.store)),
            asyncio.create_task(self.background.shared.keep()),
            asyncio.create_task(self.background.following.keep()),
            asyncio.create_task(self.background.watching.keep()),
            asyncio.create_task(_settle(self.background.settler)),
            *self.background.optional(),
            asyncio.create_task(_weigh(self.servers, self.settings, self.metrics)),
        ]
        # Objects from the start stay for good: the garbage collector need not visit them again and again.
        gc.freeze()
        # Requests leave no cycles. With Python's default of 700 a collection would stop everything for a millisecond,
        # ten times a second, while tips are generated.
        gc.set_threshold(20_000)
        try:
            yield
        finally:
            await _end(background)
            await self.consumers.stop(self.draining.seconds_left())
            await self.chat.aclose()
            if self.background.publisher is not None:
                await self.background.publisher.stop(_PUBLISH_SECONDS)
            await self.store.close()
            self.metrics.settle()  # the other processes still tell what this one counted last
            if self.tracing:
                await self.tracing.close()

    def _read_again_on_hangup(self) -> None:
        """Read the files of API_KEYS and POLICIES again on SIGHUP."""
        if threading.current_thread() is threading.main_thread() and hasattr(signal, "SIGHUP"):
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._read_again)
            # app.__main__ has blocked SIGHUP until now, and in a worker SIGINT too.
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP, signal.SIGINT})

    def _read_again(self) -> None:
        self.access.read_again()
        if self.settings.policies:
            self.serving.read_again()


async def _end(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel tasks until they have ended: a library that is opening a connection may take a cancellation for itself."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_CANCEL_AGAIN_SECONDS)


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
    """Have Redis remember since when idempotency keys are indexed by user, and whether users expire, as soon as it
    answers."""
    while True:
        try:
            await store.note_index()
            await store.note_idle()
        except StoreError:
            await asyncio.sleep(_NOTE_SECONDS)
        else:
            return


async def _weigh(servers: Servers, settings: Settings, metrics: Metrics) -> None:
    """Note how much memory Redis uses, again and again. No failure of this ends the service."""
    while settings.redis_url.reveal() != "memory://":
        # RedisError, OSError or what a proxy answers: the store logs outages.
        with suppress(Exception):
            if found := await memory(servers, patience=settings.store_timeout_seconds):
                metrics.redis_memory(*found)
        await asyncio.sleep(_jitter.uniform(0.8, 1.2) * _WEIGH_SECONDS)


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
