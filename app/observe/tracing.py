"""Traces, by OpenTelemetry: a span for each request, call of the store, call to the language model, and event.

Imported only if an exporter is configured (`app.observe.otel.wants_traces`). No span holds a path, a user id, a text or
the message of an error.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any, Final, TypeVar

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode, format_trace_id
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from app.observe.logs import TRACE_ID
from state.store import Store
from state.update.changes import Read, Step, Values

__all__ = ["Tracing"]

T = TypeVar("T")

_W3C: Final = TraceContextTextMapPropagator()
_CONTEXT: Final = frozenset(_W3C.fields)
# Machines ask for these every few seconds; their traces would bury the others.
_UNSEEN: Final = ("/health", "/metrics")
_REDIS: Final = {"db.system.name": "redis"}
_CHAT: Final = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "tip-generator"}
# Methods of Store that serve no request, or only a probe.
_UNTRACED: Final = frozenset({"ping", "note_index", "note_idle", "close"})
# Longest a stop waits for a collector.
_GOODBYE_SECONDS: Final = 1.0


class Tracing:
    """Makes spans and sends them in batches from a thread of its own, until `close`.

    `named` says that the environment names the service. Raises ValueError for variables that the SDK cannot read.
    """

    def __init__(self, version: str, *, named: bool) -> None:
        resource = {"service.version": version} | ({} if named else {"service.name": "oo-serving"})
        # The provider's own shutdown at exit would wait for the collector without a limit; `close` has one.
        self._provider = TracerProvider(resource=Resource.create(resource), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("oo-serving", version)

    @contextmanager
    def span(
        self, name: str, kind: SpanKind, attributes: Mapping[str, str], parent: Context | None = None
    ) -> Iterator[Span]:
        """A span within the current one or `parent`. An error is recorded by its type: its message may quote a user."""
        with self._tracer.start_as_current_span(
            name, parent, kind, attributes, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield span
            except BaseException as error:
                span.set_attribute("error.type", type(error).__name__)
                span.set_status(StatusCode.ERROR)
                raise

    def requests(self, app: ASGIApp) -> ASGIApp:
        """`app` with a span for each request, named by its route template, within the trace of its caller."""

        async def traced(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != ScopeType.HTTP or scope["path"].startswith(_UNSEEN):
                await app(scope, receive, send)
                return
            method = scope["method"]
            carrier = {
                name.decode("latin-1"): value.decode("latin-1")
                for name, value in scope["headers"]
                if name in (b"traceparent", b"tracestate")
            }
            with self.span(method, SpanKind.SERVER, {"http.request.method": method}, _W3C.extract(carrier)) as span:
                TRACE_ID.set(format_trace_id(span.get_span_context().trace_id))

                async def send_seen(event: Message) -> None:
                    if event["type"] == "http.response.start":
                        span.set_attribute("http.response.status_code", event["status"])
                        if event["status"] >= 500:
                            span.set_status(StatusCode.ERROR)
                    await send(event)

                try:
                    await app(scope, receive, send_seen)
                finally:
                    if route := scope.get("path_template"):
                        span.update_name(f"{method} {route}")
                        span.set_attribute("http.route", route)

        return traced

    def store(self, *arguments: Any, **keywords: Any) -> Store:
        """A Store, made of the same arguments, with a span for each call of it."""
        traced = _TracedStore(*arguments, **keywords)
        traced.tracing = self
        store: Store = traced
        return store

    def store_call(self, name: str) -> AbstractContextManager[Span]:
        """A span around a call of the store."""
        return self.span(f"store {name}", SpanKind.CLIENT, _REDIS)

    @contextmanager
    def llm_call(self) -> Iterator[Mapping[str, str]]:
        """A span around a call to the language model; yields the headers that continue the trace there."""
        with self.span("chat tip-generator", SpanKind.CLIENT, _CHAT):
            headers: dict[str, str] = {}
            _W3C.inject(headers)
            yield headers

    @contextmanager
    def event(self, subject: str, headers: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
        """A span around the handling of an event; yields the headers that continue its trace elsewhere."""
        carrier = {name.lower(): value for name, value in headers.items() if name.lower() in _CONTEXT}
        attributes = {"messaging.system": "nats", "messaging.destination.name": subject}
        name = f"process {subject.partition('.')[0]}"
        with self.span(name, SpanKind.CONSUMER, attributes, _W3C.extract(carrier)):
            onward: dict[str, str] = {}
            _W3C.inject(onward)
            yield onward

    async def close(self) -> None:
        """Send the remaining spans, if the collector takes them within a second."""
        loop = asyncio.get_running_loop()
        sent = asyncio.Event()

        def say_goodbye() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):  # too late: the loop is closed
                loop.call_soon_threadsafe(sent.set)

        # Python waits at exit for threads of a pool, but not for this one.
        threading.Thread(target=say_goodbye, daemon=True).start()
        with suppress(TimeoutError):
            async with asyncio.timeout(_GOODBYE_SECONDS):
                await sent.wait()


async def _update(self: Any, user_id: str, reads: tuple[Read, ...], step: Step[T], **keywords: Any) -> T:
    """Store.update in a span that says how often `step` was applied: 0 if the idempotency key was known."""
    attempts = 0

    def counted(values: Values) -> Any:
        nonlocal attempts
        attempts += 1
        return step(values)

    with self.tracing.store_call("update") as span:
        try:
            result: T = await Store.update(self, user_id, reads, counted, **keywords)
        finally:
            span.set_attribute("oo.store.attempts", attempts)
        return result


def _in_span(name: str, method: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Coroutine[Any, Any, Any]]:
    @wraps(method)
    async def call(self: Any, *arguments: Any, **keywords: Any) -> Any:
        with self.tracing.store_call(name):
            return await method(self, *arguments, **keywords)

    return call


# Store with each public coroutine in a span, those that are added to it later too.
_TracedStore: Final[Any] = type(
    "_TracedStore",
    (Store,),
    {
        name: _in_span(name, method)
        for name, method in vars(Store).items()
        if iscoroutinefunction(method) and not name.startswith("_") and name not in _UNTRACED
    }
    | {"update": _update},
)
