"""Spans as an exporter is given them, of a service whose exporter keeps them in memory."""

from inspect import iscoroutinefunction
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from app.observe import tracing as module
from app.observe.tracing import Tracing
from state.errors import KeyReused
from state.redis.connect import open_servers
from state.store import Store
from state.update.changes import Change, Values

pytestmark = pytest.mark.anyio

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    monkeypatch.setattr(module, "OTLPSpanExporter", lambda: exporter)
    monkeypatch.setattr(module, "BatchSpanProcessor", SimpleSpanProcessor)
    return exporter


def store_of(tracing: Tracing) -> Store:
    servers = open_servers("memory://", size=4, timeout=2.0)
    return tracing.store(servers, timeout=2.0, history_size=5, marker_seconds=60)


def named(spans: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in spans.get_finished_spans()}


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


async def test_a_use_of_the_store_is_a_span(spans: InMemorySpanExporter) -> None:
    """An update says how often its step ran, a failed one names its error and quotes nothing; a probe has no span."""
    store = store_of(Tracing("1", named=False))

    def fails(_: Values) -> Change[None]:
        raise KeyReused("of ann")

    await store.update("ann", (), lambda _: Change(None, ()))
    assert attributes(named(spans)["store update"]) == {"db.system.name": "redis", "oo.store.attempts": 1}
    with pytest.raises(KeyReused):
        await store.update("ann", (), fails)
    failed = spans.get_finished_spans()[-1]
    assert attributes(failed)["error.type"] == "KeyReused"
    assert (failed.status.is_ok, failed.events) == (False, ())
    await store.history("ann")
    assert await store.count("counter", 60) == 1
    await store.ping()
    assert named(spans).keys() == {"store update", "store history", "store count"}
    assert {span.resource.attributes["service.name"] for span in spans.get_finished_spans()} == {"oo-serving"}
    await store.close()


def test_every_public_call_of_the_store_is_traced(spans: InMemorySpanExporter) -> None:
    """A method that is added to Store later has a span as well, and keeps its documentation."""
    traced = type(store_of(Tracing("1", named=False)))
    public = {name for name, method in vars(Store).items() if iscoroutinefunction(method) and name[0] != "_"}
    assert {name for name in public if name not in vars(traced)} == {"ping", "note_index", "note_idle", "close"}
    assert traced.history.__doc__ == Store.history.__doc__


async def test_a_request_is_a_span_named_by_its_route(spans: InMemorySpanExporter) -> None:
    """It continues the caller's trace, and its status of 500 or more is an error."""

    async def app(scope: Any, _: Any, send: Any) -> None:
        scope["path_template"] = "/stats/{user_id}"
        await send({"type": "http.response.start", "status": 503, "headers": []})

    async def send(*_: Any) -> Any:
        pass

    requests = Tracing("1", named=False).requests(app)
    caller = [(b"traceparent", f"00-{TRACE}-{CALLER}-01".encode())]
    scope: Any = {"type": "http", "method": "GET", "path": "/stats/ann", "headers": caller}
    await requests(scope, send, send)
    [span] = spans.get_finished_spans()
    assert span.name == "GET /stats/{user_id}"
    assert span.parent is not None
    assert (f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, CALLER)
    assert attributes(span)["http.response.status_code"] == 503
    assert not span.status.is_ok
    await requests(scope | {"path": "/health/live"}, send, send)
    assert len(spans.get_finished_spans()) == 1


async def test_traces_go_on_elsewhere(spans: InMemorySpanExporter) -> None:
    """Calls to the language model and handled events yield the headers of their trace; an event's continues its own."""
    tracing = Tracing("1", named=True)
    with tracing.llm_call() as headers:
        assert headers["traceparent"].startswith("00-")
    with tracing.event("signals.task.synced", {"Traceparent": f"00-{TRACE}-{CALLER}-01"}) as headers:
        assert TRACE in headers["traceparent"]
    assert named(spans).keys() == {"chat tip-generator", "process signals"}
    await tracing.close()
