"""Traces as a collector receives them: an OTLP/HTTP receiver in the test, the real service in a process of its own."""

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec
import nats
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Sent

from app.http.api_keys import make_key
from tests.support.bodies import reward, score
from tests.support.nats_servers import nats_server
from tests.support.processes import ROOT, Server, free_port
from tests.support.redis_servers import redis_server
from tests.support.service import service
from tests.support.standin import Asked, completion, http, stand_in
from tests.support.waiting import PATIENCE_SECONDS, ServerError, until_async

pytestmark = pytest.mark.anyio

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{CALLER}-01"


class Span(msgspec.Struct, frozen=True):
    """What a test wants to know of a span."""

    name: str
    kind: str
    trace: str
    id: str
    parent: str
    failed: bool
    attributes: dict[str, Any]
    events: int


def values(pairs: list[KeyValue]) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value") or "string_value") for pair in pairs}


class Collector:
    """Takes what is posted to /v1/traces; `resource` is of the last."""

    def __init__(self) -> None:
        self.url = ""
        self.spans: list[Span] = []
        self.resource: dict[str, Any] = {}
        self.headers: list[str] = []
        self._open: dict[asyncio.StreamWriter, asyncio.Event] = {}

    async def close(self) -> None:
        """Break every connection that is still open: none may outlive its test."""
        for writer, ended in list(self._open.items()):
            writer.transport.abort()
            await ended.wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended = self._open[writer] = asyncio.Event()
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                rows = head.decode().lower().split("\r\n")
                self.headers = rows
                length = next(int(row.partition(":")[2]) for row in rows if row.startswith("content-length"))
                self.take(await reader.readexactly(length))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n")
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()
        finally:
            del self._open[writer]
            ended.set()

    def take(self, body: bytes) -> None:
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resource = values(list(group.resource.attributes))
            self.spans += [self.span(one) for scope in group.scope_spans for one in scope.spans]

    def span(self, one: Sent) -> Span:
        return Span(
            one.name,
            Sent.SpanKind.Name(one.kind).removeprefix("SPAN_KIND_"),
            one.trace_id.hex(),
            one.span_id.hex(),
            one.parent_span_id.hex(),
            one.status.code == 2,
            values(list(one.attributes)),
            len(one.events),
        )

    async def of(self, name: str, **attributes: Any) -> Span:
        """The one span of this name with these attributes, once it came."""

        def found() -> list[Span]:
            return [one for one in self.spans if one.name == name and attributes.items() <= one.attributes.items()]

        async def came() -> bool:
            return bool(found())

        await until_async(came, f"a span {name} {attributes}; there are {[one.name for one in self.spans]}")
        [span] = found()
        return span


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    collector = Collector()
    server = await asyncio.start_server(collector.serve, "127.0.0.1", 0)
    collector.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield collector
    finally:
        server.close()
        await collector.close()


@asynccontextmanager
async def traced(collector: Collector, **settings: str) -> AsyncIterator[Server]:
    # A collector that takes longer than its time is sent the same spans again.
    times = {"OTEL_BSP_SCHEDULE_DELAY": "20", "OTEL_EXPORTER_OTLP_TIMEOUT": "60", "STORE_TIMEOUT_SECONDS": "30"}
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url} | times | settings
    with service(environ) as server:
        yield server
        # Its end waits for the collector, which is in this very loop.
        await asyncio.to_thread(server.stop)


def asking(server: Server, headers: dict[str, str] | None = None) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=server.url, headers=headers, timeout=PATIENCE_SECONDS)


async def test_a_request_is_followed_into_the_store() -> None:
    """A request is a span within its caller's trace, named by its route template, with its status; what it asked of
    the store is a span within it, with the number of attempts. No user id, path or text is in any of them."""
    async with collecting() as collector, traced(collector, ACCESS_LOG="all") as server:
        async with asking(server, {"traceparent": TRACEPARENT}) as client:
            assert (await client.post("/score/egreedy", json=score("ann-7"))).status_code == 200
            assert (await client.get("/stats/ann-7")).status_code == 200
            assert (await client.get("/nowhere/ann-7")).status_code == 404
            for path in ("/health/ready", "/metrics"):
                assert (await client.get(path)).status_code == 200
        request = await collector.of("POST /score/egreedy")
        update = await collector.of("store update")
        read = await collector.of("store read")
        stats = await collector.of("GET /stats/{user_id}")
        lost = await collector.of("GET")
        assert (request.trace, request.parent, request.kind) == (TRACE, CALLER, "SERVER")
        assert request.attributes == {
            "http.request.method": "POST",
            "http.route": "/score/egreedy",
            "http.response.status_code": 200,
        }
        assert (update.trace, update.parent, update.kind) == (TRACE, request.id, "CLIENT")
        assert update.attributes == {"db.system.name": "redis", "oo.store.attempts": 1}
        assert (read.trace, read.parent) == (TRACE, stats.id)
        assert lost.attributes == {"http.request.method": "GET", "http.response.status_code": 404}
        assert not any(span.failed or span.events for span in collector.spans)
        assert "ann-7" not in str(collector.spans)
        assert collector.resource["service.name"] == "oo-serving"
        assert collector.resource["service.version"]
        line = next(json.loads(line) for line in server.log.splitlines() if "/score/egreedy" in line)
        assert line["trace_id"] == TRACE
    assert len(collector.spans) == 5


async def test_a_failure_is_seen_without_its_words() -> None:
    """A request that ends in 503 and the use of the store behind it are failed, the latter by its error's type; a
    request without a caller's trace begins one."""
    with redis_server() as store:
        async with (
            collecting() as collector,
            traced(
                collector,
                REDIS_URL=store.url,
                OTEL_SERVICE_NAME="tips",
                OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer%20otel-secret",
                ACCESS_LOG="all",
            ) as server,
        ):
            store.kill()
            async with asking(server) as client:
                assert (await client.post("/reward", json=reward("ann-7"))).status_code == 503
            request = await collector.of("POST /reward")
            update = await collector.of("store update")
            assert request.failed
            assert request.parent == ""
            assert update.failed
            assert update.attributes["error.type"] == "StoreUnavailable"
            assert (update.trace, update.parent) == (request.trace, request.id)
            assert collector.resource["service.name"] == "tips"
            assert "authorization: bearer otel-secret" in collector.headers
            assert "otel-secret" not in server.log


async def test_a_generation_is_continued_at_the_proxy() -> None:
    """Each call to the language model is a span, and the proxy is told of it in W3C's header."""
    replies = [completion("no array"), completion('[{"content": "Walk."}]')]

    async def answer(_: Asked) -> bytes:
        return http(replies.pop(0))

    async with (
        collecting() as collector,
        stand_in(answer) as proxy,
        traced(collector, LITELLM_URL=proxy.url, LITELLM_MASTER_KEY="sk-1") as server,
    ):
        async with asking(server, {"traceparent": TRACEPARENT}) as client:
            assert (await client.post("/generate", json={"user_id": "ann-7"})).status_code == 200
        request = await collector.of("POST /generate")
        calls = [span for span in collector.spans if span.name == "chat tip-generator"]
        assert [call.parent for call in calls] == [request.id] * 2
        sent = [asked.headers["traceparent"] for asked in proxy.asked]
        assert sent == [f"00-{TRACE}-{call.id}-01" for call in calls]
        assert all(asked.headers["authorization"] == "Bearer sk-1" for asked in proxy.asked)


async def test_an_event_is_followed_to_the_store_and_to_its_dead_letter() -> None:
    """An event is handled within the trace its publisher named in the headers; its dead letter names the event's span,
    once, whatever case the headers had."""
    with nats_server() as events:
        async with (
            collecting() as collector,
            traced(collector, NATS_URL=events.url, NATS_CREATE_STREAMS="1") as server,
            asking(server) as client,
        ):

            async def running() -> bool:
                consumers = (await client.get("/health")).json()["nats"]["consumers"]
                return {(one["state"], one["problem"]) for one in consumers.values()} == {("running", None)}

            await until_async(running, "both consumers run, and dead letters are taken")
            connection = await nats.connect(events.url)
            jetstream = connection.jetstream(timeout=PATIENCE_SECONDS)
            subscription = await jetstream.subscribe("dlq.>", stream="dlq")
            body = json.dumps({"user_id": "ann-7"}).encode()
            await jetstream.publish("signals.task.synced", body, headers={"traceparent": TRACEPARENT})
            update = await collector.of("store update")
            event = await collector.of("process signals")
            assert (event.trace, event.parent, event.kind, event.failed) == (TRACE, CALLER, "CONSUMER", False)
            assert event.attributes["messaging.destination.name"] == "signals.task.synced"
            assert (update.trace, update.parent) == (TRACE, event.id)
            collector.spans.clear()
            await jetstream.publish("signals.task.synced", b"{", headers={"Traceparent": TRACEPARENT, "Shop": "1"})
            letter = await subscription.next_msg(timeout=PATIENCE_SECONDS)
            event = await collector.of("process signals")
            assert event.failed
            assert event.attributes["error.type"] == "Malformed"
            assert event.trace == TRACE
            named = {name: value for name, value in (letter.headers or {}).items() if name.lower() == "traceparent"}
            assert named == {"traceparent": f"00-{TRACE}-{event.id}-01"}
            assert (letter.headers or {})["Shop"] == "1"
            await connection.close()


@pytest.mark.parametrize("listens", [False, True])
async def test_a_collector_that_is_away_harms_nobody(listens: bool) -> None:
    """Requests are answered and the service stops in time while the collector refuses its spans or does not answer."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        nowhere = f"http://127.0.0.1:{silent.getsockname()[1] if listens else free_port()}"
        environ = {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": nowhere}
        with service(environ | {"OTEL_EXPORTER_OTLP_TIMEOUT": "600"}) as server:
            async with asking(server) as client:
                for _ in range(10):
                    assert (await client.post("/score", json=score())).status_code == 200
            assert await asyncio.to_thread(server.stop) == 0


OFF = """
import sys
from app.main import create_app
from app.settings import Settings
create_app(Settings())
ours = ("app.observe.tracing", "opentelemetry.exporter", "google.protobuf", "requests")
print([name for name in sys.modules if name.startswith(ours)])
"""


def test_nothing_is_imported_while_off() -> None:
    """Without an exporter what makes and sends spans is not even imported; redis-py loads a part of the SDK that is
    installed, and leaves it alone."""
    done = subprocess.run([sys.executable, "-c", OFF], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
HERE = "http://127.0.0.1:4318"


@pytest.mark.parametrize("environ", [{"OTEL_BSP_MAX_QUEUE_SIZE": "100"}, {"OTEL_SPAN_LINK_COUNT_LIMIT": "-1"}])
def test_what_the_sdk_refuses_is_one_line(environ: dict[str, str]) -> None:
    """Whatever else it cannot do with its variables ends the start with one line too."""
    with pytest.raises(ServerError, match="ended at start") as caught, service({ENDPOINT: HERE, **environ}):
        pass
    last = str(caught.value).splitlines()
    assert "OTEL_" in last[-1]
    assert "Traceback" not in str(caught.value)


async def test_erasing_and_counting_are_uses_of_the_store() -> None:
    """So an erasure's time, and that of a rate limit, is seen for what it is."""
    key, line = make_key("me", "admin")
    async with (
        collecting() as collector,
        traced(collector, API_KEYS=line, RATE_LIMIT_PER_SECOND="9") as server,
        asking(server) as client,
    ):
        headers = {"Authorization": f"Bearer {key}"}
        assert (await client.delete("/users/ann-7", headers=headers)).status_code == 200
        request = await collector.of("DELETE /users/{user_id}")
        assert (await collector.of("store erase")).parent == request.id
        assert (await collector.of("store count")).parent == request.id
