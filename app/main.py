"""The composition root: here, and only here, the parts are made and put together."""

import asyncio
import gc
import logging
import os
import random
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import httpx
from litestar import Litestar
from litestar.types import ASGIApp

from app import __version__, llm, prompts
from app import settings as environment
from app.access import Access
from app.bandit.registry import policies
from app.consumer import Consumers
from app.decisions import Decisions
from app.delivery import untraced
from app.draining import Draining
from app.errors import answer_to
from app.gate import Gate
from app.generate import generate_routes
from app.health import health_routes
from app.logs import set_up
from app.metrics import Metrics, metrics_routes
from app.openapi import schema_routes
from app.precedence import Precedence
from app.routes import POLICY_PATHS, decision_routes
from app.settings import Settings, SettingsError, wants_traces
from state.advice import advise
from state.connect import open_servers, place
from state.errors import StoreError
from state.servers import Servers
from state.store import Store

if TYPE_CHECKING:
    from app.tracing import Tracing

__all__ = ["create_app", "from_environment"]

_log: Final = logging.getLogger("oo")
# Requests per connection to Redis that may wait before others are refused: some batches' worth.
_WAITING_PER_CONNECTION: Final = 16
_NOTE_SECONDS: Final = 10.0


def create_app(
    settings: Settings,
    *,
    clock: Callable[[], float] = time.time,
    chance: random.Random | None = None,
    llm_transport: httpx.AsyncBaseTransport | None = None,
) -> ASGIApp:
    """The service as an ASGI application. Nothing connects before its start.

    `clock`, `chance` and `llm_transport` stand in for the time, the randomness and the network in tests. Raises
    SettingsError for settings that do not fit together.
    """
    wait_replicas = None if settings.redis_wait_replicas == "auto" else settings.redis_wait_replicas
    if settings.redis_url.reveal() == "memory://" and (settings.workers > 1 or wait_replicas):
        raise SettingsError("REDIS_URL: memory:// is one process's alone; WORKERS and REDIS_WAIT_REPLICAS need a Redis")
    try:
        servers = open_servers(
            settings.redis_url.reveal(), size=settings.redis_pool_size, timeout=settings.store_timeout_seconds
        )
    except ValueError as error:
        raise SettingsError(f"REDIS_URL: {error}") from None
    try:
        versions = prompts.load(settings.default_prompt_version)
    except prompts.UnknownPrompt as error:
        raise SettingsError(f"DEFAULT_PROMPT_VERSION: {error}") from None
    except ValueError as error:  # a file that is no prompt
        raise SettingsError(str(error)) from None
    rows = policies(settings.alpha, settings.epsilon)
    metrics = Metrics(
        __version__, tuple(rows), {row.id: settings.epsilon for row in rows.values() if row.classic.tells_exploration}
    )
    tracing = _tracing()
    store = (tracing.store if tracing else Store)(
        servers,
        timeout=settings.store_timeout_seconds,
        history_size=settings.feature_history_size,
        marker_seconds=settings.idempotency_ttl_seconds,
        wait_replicas=wait_replicas,
        observe=metrics.flushed,
    )
    access = Access(settings.api_keys.reveal(), store, settings.rate_limit_per_second, metrics.uncounted)
    decisions = Decisions(store, rows, metrics, clock=clock, chance=chance)
    precedence = Precedence()
    chat = llm.connect(
        url=settings.litellm_url,
        key=settings.litellm_master_key,
        max_concurrency=settings.llm_max_concurrency,
        queue_seconds=settings.llm_queue_seconds,
        precedence=precedence,
        transport=llm_transport,
        trace=tracing.llm_call if tracing else llm.untraced,
    )
    consumers = Consumers(
        settings, decisions, store.ping, observer=metrics, trace=tracing.event if tracing else untraced
    )
    metrics.watch(consumers.health)
    # And of no route: what is refused before it is read.
    metrics.expect(["", *(f"/{verb}{path}" for verb in ("score", "reward") for path in POLICY_PATHS)])
    draining = Draining(settings.drain_seconds, settings.shutdown_seconds)

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        _say_what_is_risky(settings)
        access.say_if_nobody_is_let_in()
        _read_keys_again_on_hangup(access)
        draining.on_sigterm()
        consumers.start()
        background = [
            asyncio.create_task(_advise(servers, settings, wait_replicas)),
            asyncio.create_task(metrics.keep_settled()),
            asyncio.create_task(_note_index(store)),
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
            await consumers.stop(draining.seconds_left())
            await chat.aclose()
            await store.close()
            if tracing:
                await tracing.close()

    routes = [
        *decision_routes(decisions, settings.max_body_bytes, precedence),
        *generate_routes(chat, versions, settings.max_body_bytes, precedence, metrics),
        *health_routes(store, consumers.health, draining, __version__),
        *metrics_routes(metrics, settings.metrics_key),
    ]
    app = Litestar(
        [*routes, *schema_routes(routes)],
        lifespan=[lifespan],
        guards=[] if access.is_open else [access.guard],
        exception_handlers={Exception: answer_to},
        openapi_config=None,  # app.openapi makes the document: the handlers read their bodies themselves
        logging_config=None,
    )
    most = settings.max_inflight or settings.redis_pool_size * _WAITING_PER_CONNECTION
    gate = Gate(app, most, metrics, draining, settings.access_log)
    return tracing.requests(gate) if tracing else gate


def from_environment() -> ASGIApp:
    """The service as the environment says, for each of several worker processes to make its own.

    A file of keys may have gone bad since the start: such a process ends, and its parent tries again.
    """
    settings = environment.from_environment(os.environ)
    set_up(settings.log_level, settings.log_format)
    try:
        return create_app(settings)
    except SettingsError as error:
        _log.critical("%s", error)
        sys.exit(1)


def _tracing() -> "Tracing | None":
    """What makes traces, if the environment says where to. It is not even imported otherwise. Raises SettingsError."""
    if not wants_traces(os.environ):
        return None
    try:
        from app.tracing import Tracing  # noqa: PLC0415

        return Tracing(__version__)
    except ValueError as error:
        raise SettingsError(f"a variable OTEL_... does not fit: {error}") from None


def _say_what_is_risky(settings: Settings) -> None:
    if settings.redis_url.reveal() == "memory://":
        _log.warning("REDIS_URL is memory://: all state is in this process only and GONE when it stops")
    else:
        _log.info("Redis: %s", place(settings.redis_url.reveal()))
    if not settings.api_keys:
        _log.warning("API_KEYS is empty: everyone who can reach this service may use and reset it")
        if settings.rate_limit_per_second:
            _log.warning("RATE_LIMIT_PER_SECOND has no effect: without API_KEYS there is nobody to count for")


async def _advise(servers: Servers, settings: Settings, wait_replicas: int | None) -> None:
    """Say what Redis is set up to lose, once it is there. It must not end the service, whatever happens to it."""
    if settings.redis_url.reveal() == "memory://":
        return
    try:
        await advise(servers, patience=settings.store_timeout_seconds, wait_replicas=wait_replicas)
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
