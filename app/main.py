"""The composition root: the only place where the parts are made and put together."""

import logging
import os
import random
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

import httpx
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from app import __version__
from app import settings as environment
from app.api.azure import Facade
from app.api.classic import classic_routes
from app.api.decisions import asked_of, decision_routes
from app.api.health import Health, health_routes
from app.api.loops import loop_routes
from app.api.metrics import metrics_routes
from app.api.personalizer import event_routes
from app.api.personalizer_admin import administration_routes
from app.api.reference import schema_routes
from app.api.tips import generate_routes
from app.api.users import user_routes
from app.bandit.explore import EpsilonGreedy
from app.cases import Cases, made_cases
from app.catalog_file import served_catalog
from app.console.doors import Doors
from app.console.routes import console_routes
from app.events.consumers import Consumers
from app.events.counts import untraced
from app.events.handlers import Uses
from app.events.sync import Sync
from app.http.access import Access
from app.http.draining import Draining
from app.http.errors import answer_to
from app.http.gate import Gate
from app.http.headers import Prefixed
from app.http.straight import Straight
from app.observe.logs import set_up
from app.observe.metrics import Metrics
from app.observe.otel import names_service, wants_traces
from app.precedence import Precedence
from app.publishing import log_health, made_publisher
from app.serving import Serving
from app.settings import Settings, SettingsError
from app.tips import prompts
from app.tips.chat import ChatClient, connect
from app.tips.chat import untraced as untraced_call
from state.redis.connect import open_servers
from state.redis.servers import Servers
from state.store import Store
from state.update.idle import Idle

if TYPE_CHECKING:
    from app.observe.tracing import Tracing
from app.lifespan import Background, Parts, SharedState, wait_replicas_of

__all__ = ["create_app", "from_environment"]

_log: Final = logging.getLogger("oo")

# Requests per connection to Redis that may wait before others are refused: some batches of them.
_WAITING_PER_CONNECTION: Final = 16


def create_app(
    settings: Settings,
    *,
    clock: Callable[[], float] = time.time,
    chance: random.Random | None = None,
    llm_transport: httpx.AsyncBaseTransport | None = None,
) -> ASGIApp:
    """The service as an ASGI application. It connects to nothing before its start.

    Tests replace the time, the randomness and the network by `clock`, `chance` and `llm_transport`. Raises
    SettingsError for settings that do not fit together.
    """
    servers = _servers(settings)
    versions = _prompts(settings)
    rows = Serving(partial(served_catalog, settings))
    metrics = _metrics(rows)
    tracing = _tracing()
    store = _store(settings, servers, metrics, tracing, Idle(settings.idle_user_days, rows))
    cases = made_cases(settings, store, rows, metrics, clock=clock, chance=chance)
    access = Access(settings.api_keys.reveal(), store, settings.rate_limit_per_second, metrics.uncounted)
    precedence = Precedence()
    chat = _chat(settings, precedence, tracing, llm_transport)
    trace = tracing.event if tracing else untraced
    consumers = Consumers(settings, Uses(Sync(store), cases.outcomes.tell), store.ping, observer=metrics, trace=trace)
    metrics.watch(consumers.health)
    publisher = made_publisher(settings, store, metrics)
    draining = Draining(settings.drain_seconds, settings.shutdown_seconds)
    health = Health(store, draining, cases.following, consumers.health, log_health(publisher), __version__)
    routes: list[HTTPRouteHandler] = [
        *_routes_of(cases, rows, settings.max_body_bytes, precedence),
        *generate_routes(chat, versions, settings.max_body_bytes, precedence, metrics),
        *health_routes(health),
        *metrics_routes(metrics, settings.metrics_key),
    ]
    shared = SharedState(rows, cases.models, cases.priors, clock)
    followed = cases.followed if settings.personalizer_key else None
    background = Background(shared, cases.following, cases.watching, cases.settler, publisher, followed)
    parts = Parts(settings, servers, store, background, access, rows, consumers, chat, draining, metrics, tracing)
    guards = [] if access.is_open else [access.guard]
    routes += schema_routes(routes)
    if settings.console:
        routes += _console(cases, health, precedence, Doors(access, store.shared, clock))
    app = Litestar(
        routes,
        lifespan=[parts.lifespan],
        guards=guards,
        exception_handlers={Exception: answer_to},
        openapi_config=None,  # app.reference makes the document: the handlers read their bodies themselves
        logging_config=None,
    )
    most = settings.max_inflight or settings.redis_pool_size * _WAITING_PER_CONNECTION
    inner = _with_personalizer(Straight(app, routes, guards), cases, settings, precedence)
    gate = Gate(inner, most, metrics, draining, settings.access_log)
    return _published(tracing.requests(gate) if tracing else gate, settings, routes)


def _routes_of(cases: Cases, rows: Serving, max_body_bytes: int, precedence: Precedence) -> list[HTTPRouteHandler]:
    """The routes of the use-cases."""
    return [
        *classic_routes(
            rows.values(),
            cases.decider,
            cases.learner,
            cases.users,
            max_body_bytes=max_body_bytes,
            precedence=precedence,
        ),
        *decision_routes(cases.maker, cases.outcomes, max_body_bytes=max_body_bytes, precedence=precedence),
        *loop_routes(cases.rules.plans, cases.following, cases.changer, max_body_bytes),
        *user_routes(cases.users),
    ]


def _with_personalizer(app: ASGIApp, cases: Cases, settings: Settings, precedence: Precedence) -> ASGIApp:
    """`app` and the routes of Azure Personalizer's clients; `app` alone if they have no key."""
    key = settings.personalizer_key.reveal()
    if not key:
        return app
    name = settings.personalizer_app
    routes = [
        *event_routes(cases.application, name, precedence),
        *administration_routes(cases.administration, cases.keeper, name),
    ]
    return Facade(app, routes, key, max_body_bytes=settings.max_body_bytes)


def _console(cases: Cases, health: Health, precedence: Precedence, doors: Doors) -> list[HTTPRouteHandler]:
    """The routes of the pages for people."""
    sources = cases.sources(health.seen, asked_of, precedence.give_way)
    return console_routes(sources, doors, health.version, precedence.give_way)


def from_environment() -> ASGIApp:
    """The service by the settings in the environment. Each of several worker processes calls this.

    If the file of API keys has become invalid since the start, the process ends, and its parent starts another.
    """
    settings = environment.from_environment(os.environ)
    set_up(settings.log_level, settings.log_format)
    try:
        return create_app(settings)
    except SettingsError as error:
        _log.critical("%s", error)
        sys.exit(1)


def _published(app: ASGIApp, settings: Settings, routes: list[HTTPRouteHandler]) -> ASGIApp:
    """`app` under the prefix that a proxy gives it; itself, at no cost, if no setting names one."""
    return Prefixed(app, settings, routes) if settings.root_path or settings.trusted_proxies else app


def _servers(settings: Settings) -> Servers:
    if settings.redis_url.reveal() == "memory://" and (settings.workers > 1 or wait_replicas_of(settings)):
        raise SettingsError("REDIS_URL: memory:// is for one process; WORKERS and REDIS_WAIT_REPLICAS need a Redis")
    try:
        return open_servers(
            settings.redis_url.reveal(), size=settings.redis_pool_size, timeout=settings.store_timeout_seconds
        )
    except ValueError as error:
        raise SettingsError(f"REDIS_URL: {error}") from None


def _store(settings: Settings, servers: Servers, metrics: Metrics, tracing: "Tracing | None", idle: Idle) -> Store:
    return (tracing.store if tracing else Store)(
        servers,
        timeout=settings.store_timeout_seconds,
        history_size=settings.feature_history_size,
        marker_seconds=settings.idempotency_ttl_seconds,
        wait_replicas=wait_replicas_of(settings),
        observe=metrics.flushed,
        idle=idle,
    )


def _chat(
    settings: Settings, precedence: Precedence, tracing: "Tracing | None", transport: httpx.AsyncBaseTransport | None
) -> ChatClient:
    return connect(
        url=settings.litellm_url,
        key=settings.litellm_master_key,
        max_concurrency=settings.llm_max_concurrency,
        queue_seconds=settings.llm_queue_seconds,
        precedence=precedence,
        transport=transport,
        trace=tracing.llm_call if tracing else untraced_call,
    )


def _prompts(settings: Settings) -> prompts.Prompts:
    try:
        return prompts.load(settings.default_prompt_version)
    except prompts.UnknownPrompt as error:
        raise SettingsError(f"DEFAULT_PROMPT_VERSION: {error}") from None
    except ValueError as error:  # from a template that is not a valid prompt
        raise SettingsError(str(error)) from None


def _metrics(rows: Serving) -> Metrics:
    explorers = {row.id: row.explorer for row in rows.values()}
    epsilons = {name: each.epsilon for name, each in explorers.items() if isinstance(each, EpsilonGreedy)}
    metrics = Metrics(__version__, tuple(rows), epsilons, shared=os.environ.get("PROMETHEUS_MULTIPROC_DIR"))
    named = [row.classic for row in rows.values() if row.classic is not None]
    # "" is the route of requests that are refused before they are read.
    metrics.expect_loops(rows.catalog.loops)
    metrics.expect(["", *(f"/{verb}{each.route}" for verb in ("score", "reward") for each in named)])
    return metrics


def _tracing() -> "Tracing | None":
    """Tracing, imported only if the environment names an exporter. Raises SettingsError."""
    if not wants_traces(os.environ):
        return None
    try:
        from app.observe.tracing import Tracing  # noqa: PLC0415  # slow, and needed only with an exporter

        return Tracing(__version__, named=names_service(os.environ))
    except ValueError as error:
        raise SettingsError(f"a variable OTEL_... is not valid: {error}") from None
