"""Traces, by OpenTelemetry: a span for each request, use of the store, call to the language model, and event.

Imported only if an exporter is configured (`app.settings.wants_traces`); its own settings are the standard variables,
read by the SDK. No span holds a path, a user id, a text, or the words of an error.
"""

import asyncio
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
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
from state.update.changes import Once, Read, Step, Values

__all__ = ["Tracing"]

T = TypeVar("T")

_W3C: Final = TraceContextTextMapPropagator()
_CONTEXT: Final = frozenset(_W3C.fields)
# Asked every few seconds by machines: nobody looks for their traces.
_UNSEEN: Final = ("/health", "/metrics")
_REDIS: Final = {"db.system.name": "redis"}
_CHAT: Final = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "tip-generator"}
# Longest a stop waits for a collector.
_GOODBYE_SECONDS: Final = 1.0


class Tracing:
    """Makes spans and sends them in batches from a thread of its own, until `close`."""

    def __init__(self, version: str) -> None:
        named = "OTEL_SERVICE_NAME" in os.environ or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
        resource = {"service.version": version} | ({} if named else {"service.name": "oo-serving"})
        # At exit it would wait for the collector; `close` does so with a limit.
        self._provider = TracerProvider(resource=Resource.create(resource), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("oo-serving", version)

    @contextmanager
    def span(
        self, name: str, kind: SpanKind, attributes: Mapping[str, str], parent: Context | None = None
    ) -> Iterator[Span]:
        """A span within the current one, or within `parent`; an error is told by its type, for its words may quote."""
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
        """A Store, made of the same arguments, with a span for each use of it."""
        store = _TracedStore(*arguments, **keywords)
        store.tracing = self
        return store

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
        """Send what is left, if the collector takes it within a second."""
        loop = asyncio.get_running_loop()
        sent = asyncio.Event()

        def say_goodbye() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):  # too late: nobody waits any more
                loop.call_soon_threadsafe(sent.set)

        # A thread of a pool would be waited for at exit.
        threading.Thread(target=say_goodbye, daemon=True).start()
        with suppress(TimeoutError):
            async with asyncio.timeout(_GOODBYE_SECONDS):
                await sent.wait()


class _TracedStore(Store):
    """The store with a span for each wait for it."""

    tracing: Tracing

    async def update(
        self,
        user_id: str,
        reads: tuple[Read, ...],
        step: Step[T],
        *,
        once: Once[T] | None = None,
    ) -> T:
        attempts = 0

        def counted(values: Values) -> Any:
            nonlocal attempts
            attempts += 1
            return step(values)

        with self._span("update") as span:
            try:
                return await super().update(user_id, reads, counted, once=once)
            finally:
                # How often it was applied to what Redis held; 0 if the idempotency key was known.
                span.set_attribute("oo.store.attempts", attempts)

    async def wipe(self, user_id: str, wiped: Any) -> None:
        with self._span("wipe"):
            await super().wipe(user_id, wiped)

    async def read(self, key: str, fields: tuple[bytes, ...]) -> Sequence[bytes | None]:
        with self._span("read"):
            return await super().read(key, fields)

    async def history(self, user_id: str) -> list[bytes]:
        with self._span("history"):
            return await super().history(user_id)

    async def erase(self, user_id: str, fixed: Sequence[str], *, thorough: bool = False) -> list[str]:
        with self._span("erase"):
            return await super().erase(user_id, fixed, thorough=thorough)

    async def count(self, key: str, seconds: int) -> int:
        with self._span("count"):
            return await super().count(key, seconds)

    def _span(self, what: str) -> AbstractContextManager[Span]:
        return self.tracing.span(f"store {what}", SpanKind.CLIENT, _REDIS)
