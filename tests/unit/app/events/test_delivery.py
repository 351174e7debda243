"""One delivery: acked, given back, or dead-lettered and terminated, and kept in hand while the store is away."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager

import nats.errors
import pytest

from app.events.counts import untraced
from app.events.delivery import Delivery
from app.events.handlers import Event, Malformed
from app.events.store_gate import StoreGate
from state.errors import ConflictError, StoreUnavailable
from tests.support.waiting import PATIENCE_SECONDS
from tests.unit.app.events.fakes import FakeClient, Observed, event, settle

pytestmark = pytest.mark.anyio

REFUSED = b'{"error": {"description": "full"}}'


class Made:
    """A delivery over fakes; the handler raises `errors` in turn, then succeeds."""

    def __init__(self, *errors: Exception, handle: Callable[[Event], Awaitable[None]] | None = None) -> None:
        self.client = FakeClient()
        self.observed = Observed()
        self.store_answers = True
        self.gate = StoreGate(self.ping)
        self.errors = list(errors)
        self.handled: list[Event] = []
        self.problems: list[str | None] = []
        self.delivery = Delivery(
            self.client.real, handle or self.handle, self.gate, self.observed.counts, untraced, first_nak_seconds=1.0
        )
        self.delivery.max_deliver = 3

    async def ping(self) -> None:
        if not self.store_answers:
            raise ConnectionError

    async def handle(self, event: Event) -> None:
        self.handled.append(event)
        self.problems.append(self.gate.problem)
        if self.errors:
            raise self.errors.pop(0)


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses have no jitter, and those for the store no length."""
    monkeypatch.setattr("app.events.waiting.jitter", lambda seconds: seconds)
    monkeypatch.setattr("app.events.store_gate.backoff", lambda *_, **__: 0.0)


async def test_handled() -> None:
    """The handler gets subject, body and time; the event is acked and counted after it."""
    made = Made()
    await made.delivery.run(event(made.client, b"body", stored=12.5))
    assert made.handled == [Event("signals.task.synced", b"body", 12.5)]
    assert (made.client.said, made.observed.events) == (["+ACK"], {"processed": 1})


async def test_malformed() -> None:
    """A dead letter at the first delivery, terminated after it was acknowledged."""
    made = Made(Malformed("no user"))
    await made.delivery.run(event(made.client, b"body"))
    [(subject, body, headers)] = made.client.requests
    assert (subject, body, headers["Dlq-Reason"]) == ("dlq.signals.task.synced", b"body", "malformed: no user")
    assert (made.client.said, made.observed.events) == (["+TERM"], {"failed": 1, "dead_lettered": 1})


@pytest.mark.parametrize(("delivered", "seconds"), [(1, 1.0), (2, 2.0), (4, 8.0), (7, 60.0), (10_000, 60.0)])
async def test_failed_deliveries_are_given_back(delivered: int, seconds: float) -> None:
    """With a delay that doubles up to a minute."""
    made = Made(ConflictError("others were first"))
    made.delivery.max_deliver = delivered + 1
    await made.delivery.run(event(made.client, delivered=delivered))
    assert (made.client.said, made.client.delays) == (["-NAK"], [seconds])
    assert made.observed.events == {"failed": 1}


@pytest.mark.parametrize("delivered", [3, 4])
async def test_last_delivery(delivered: int, caplog: pytest.LogCaptureFixture) -> None:
    """When it fails, the event becomes a dead letter that says how often and why."""
    made = Made(ConflictError("others were first"))
    with caplog.at_level(logging.WARNING, "oo.events"):
        await made.delivery.run(event(made.client, delivered=delivered, sequence=7))
    [(_, _, headers)] = made.client.requests
    reason = f"failed {delivered} times, at last with ConflictError: others were first"
    assert headers["Dlq-Reason"] == reason
    assert made.client.said == ["+TERM"]
    assert caplog.messages[-1] == f"event signals.task.synced (S 7) dead-lettered: {reason}"


async def test_refused_dead_letter() -> None:
    """The event is given back and not terminated; the problem is told until a dead letter is taken."""
    made = Made(Malformed("x"), Malformed("x"))
    made.client.answer = lambda *_: REFUSED
    await made.delivery.run(event(made.client, delivered=2))
    assert (made.client.said, made.client.delays) == (["-NAK"], [2.0])
    assert made.delivery.problem == "refused: full"
    assert made.observed.events == {"failed": 1}
    made.client.answer = lambda *_: b'{"seq": 1}'
    await made.delivery.run(event(made.client))
    assert made.client.said == ["-NAK", "+TERM"]
    assert made.delivery.problem is None


async def test_trace_goes_into_the_dead_letter() -> None:
    """What the trace yields is among its headers."""
    traced: list[tuple[str, Mapping[str, str]]] = []

    @contextmanager
    def trace(subject: str, headers: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
        traced.append((subject, headers))
        yield {"traceparent": "00-1"}

    made = Made()
    made.delivery = Delivery(
        made.client.real, Made(Malformed("x")).handle, made.gate, made.observed.counts, trace, first_nak_seconds=1.0
    )
    await made.delivery.run(event(made.client, headers={"a": "b"}))
    assert traced == [("signals.task.synced", {"a": "b"})]
    assert made.client.requests[0][2]["traceparent"] == "00-1"


async def test_event_waits_for_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is handled again when the store answers; that is neither a failure nor an answer to the server."""
    monkeypatch.setattr("app.events.delivery.backoff", lambda *_, **__: 0.0)
    made = Made(StoreUnavailable("away"), StoreUnavailable("away"))
    made.store_answers = False
    running = asyncio.create_task(made.delivery.run(event(made.client)))
    await settle()
    assert (len(made.handled), made.client.published) == (1, [])
    made.store_answers = True
    await asyncio.wait_for(running, PATIENCE_SECONDS)
    assert made.client.said == ["+ACK"]
    # Told even when the store answers again, until the event is handled.
    assert [*made.problems, made.gate.problem] == [None, *["store unavailable: away"] * 2, None]
    assert made.observed.events == {"processed": 1}


async def test_event_that_waited_too_long_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a replica that reaches the store gets it; even at the last delivery that is not a failure."""
    monkeypatch.setattr("app.events.delivery.HOLD_SECONDS", 0.0)
    monkeypatch.setattr("app.events.delivery.backoff", lambda *_, **__: 0.0)
    made = Made(StoreUnavailable("away"), StoreUnavailable("away"))
    made.store_answers = False
    await asyncio.wait_for(made.delivery.run(event(made.client, delivered=3)), PATIENCE_SECONDS)
    assert (made.client.said, made.client.requests, made.observed.events) == (["-NAK"], [], {})
    made.gate.close()


async def test_shutdown_does_not_wait_for_the_store() -> None:
    """The event is given back at once."""
    made = Made(StoreUnavailable("away"))
    made.gate.close()
    await made.delivery.run(event(made.client))
    assert (made.client.said, len(made.handled)) == (["-NAK"], 1)


async def test_cancelled() -> None:
    """An event that is not handled within the grace period is given back to another replica at once."""

    async def never(_: Event) -> None:
        await asyncio.Event().wait()

    made = Made(handle=never)
    running = asyncio.create_task(made.delivery.run(event(made.client)))
    await settle()
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()
    assert made.client.delays == [0.1]


async def test_answer_lost_with_the_connection() -> None:
    """It is not an error: the event comes again."""
    made = Made()
    made.client.error = nats.errors.ConnectionClosedError()
    await made.delivery.run(event(made.client))
    assert made.client.published == []
