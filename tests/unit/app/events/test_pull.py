"""Pulling from one durable: the open request, the events in hand, and how they are kept alive."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace

import msgspec
import pytest
from nats.aio.msg import Msg

from app.events.handlers import Event, Malformed
from app.events.pull import IN_HAND, IN_HAND_BYTES, Pull, Request
from app.events.store_gate import StoreGate
from tests.unit.app.events.fakes import FakeClient, Observed, event, settle

pytestmark = pytest.mark.anyio

NEXT = "$JS.API.CONSUMER.MSG.NEXT.S.oo-serving-signals"


class Made:
    """A pull over fakes, whose handler waits for `go`."""

    def __init__(self) -> None:
        self.client = FakeClient()
        self.observed = Observed()
        self.gate = StoreGate(self.ping)
        self.running: set[asyncio.Task[None]] = set()
        self.go = asyncio.Event()
        self.pull = Pull(
            self.client.real,
            "S",
            "oo-serving-signals",
            handle=self.handle,
            gate=self.gate,
            counts=self.observed.counts,
            running=self.running,
            first_nak_seconds=1.0,
        )

    async def ping(self) -> None:
        raise ConnectionError

    async def handle(self, event: Event) -> None:
        await self.go.wait()
        if event.body == b"bad":
            raise Malformed("bad")

    @property
    def asked(self) -> list[tuple[int, int]]:
        """How many events and bytes each request asked for."""
        bodies = [msgspec.json.decode(body) for subject, body in self.client.published if subject == NEXT]
        return [(body["batch"], body["max_bytes"]) for body in bodies]

    async def status(self, code: str, words: str = "") -> None:
        """What the server sends when it ends a request."""
        headers = {"Status": code} | ({"Description": words} if words else {})
        await self.client.give(Msg(self.client.real, subject="_INBOX.1", headers=headers))
        await settle()


@asynccontextmanager
async def pulling() -> AsyncIterator[Made]:
    made = Made()
    task = asyncio.create_task(made.pull.run())
    await settle()
    try:
        yield made
    finally:
        made.go.set()
        made.gate.close()
        task.cancel()
        await asyncio.wait([task, *made.running])


@pytest.fixture
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.events.pull.jitter", lambda _: 0.0)


@pytest.mark.parametrize(
    ("status", "arrived", "refused"), [("408", 0, False), ("408", 1, False), ("409", 0, True), ("409", 1, False)]
)
def test_request(status: str, arrived: int, refused: bool) -> None:
    """It is open until its events have arrived or the server ends it; refused only if it ends before any has."""
    request = Request()
    seen = [request.is_open]
    request.open(2)
    for _ in range(arrived):
        request.arrived()
    assert [*seen, request.is_open] == [False, True]
    request.ended({"Status": status, "Description": "Exceeded"})
    assert (request.is_open, request.refused) == (False, refused)
    assert request.refusal == ("Exceeded" if refused else None)
    request.open(1)
    assert not request.refused
    request.arrived()
    assert (request.is_open, request.refusal) == (False, None)


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"Status": "409", "Description": " Consumer Deleted\nNats-Pending-Messages: 256"}, "Consumer Deleted"),
        ({"Status": "409"}, "status 409"),
        ({"Status": "409", "Description": "\nNats-Pending-Messages: 256"}, "status 409"),
        ({}, "status unknown"),
    ],
)
def test_words_of_a_refusal(headers: dict[str, str], words: str) -> None:
    """One line, without headers that nats-py takes for words."""
    request = Request()
    request.ended(headers)
    assert request.refusal == words


async def test_asks_for_what_it_may_have_in_hand() -> None:
    """At first for all; again when the server ends the request, and then for the rest."""
    async with pulling() as made:
        assert made.asked == [(IN_HAND, IN_HAND_BYTES)]
        await made.client.give(event(made.client, b"x" * 1_000, pending=7))
        assert (made.pull.in_hand, made.pull.pending) == (1, 7)
        await made.status("408")
        assert made.asked[1:] == [(IN_HAND - 1, IN_HAND_BYTES - 1_000)]
        made.go.set()
        await settle()
        assert made.pull.in_hand == 0
        assert made.client.said == ["+ACK"]
        await made.status("408")
        assert made.asked[2:] == [(IN_HAND, IN_HAND_BYTES)]


@pytest.mark.parametrize(("count", "size"), [(IN_HAND // 2 + 1, 1), (9, 1_000_000)])
async def test_asks_for_no_more_while_it_has_much_in_hand(count: int, size: int) -> None:
    """In number or in bytes."""
    async with pulling() as made:
        for sequence in range(count):
            await made.client.give(event(made.client, b"x" * size, sequence=sequence))
        await made.status("409")
        assert (made.pull.in_hand, len(made.asked)) == (count, 1)
        made.go.set()
        await settle(100)
        assert (made.pull.in_hand, len(made.asked)) == (0, 2)


async def test_asks_for_nothing_while_the_store_is_away() -> None:
    """It goes on when the gate opens."""
    async with pulling() as made:
        made.gate.shut("away")
        await made.status("408")
        assert len(made.asked) == 1
        made.gate.close()
        await settle()
        assert len(made.asked) == 2


async def test_asks_again_after_a_reconnection() -> None:
    """The request that was open is lost."""
    async with pulling() as made:
        made.pull.ask_again()
        await settle()
        assert len(made.asked) == 2


@pytest.mark.usefixtures("without_pauses")
async def test_refusal_is_told_until_an_event_arrives() -> None:
    """A limit of the durable that the request goes beyond."""
    async with pulling() as made:
        await made.status("409", "Exceeded MaxRequestBatch of 100")
        assert made.pull.problems == ["nothing is delivered: Exceeded MaxRequestBatch of 100"]
        assert len(made.asked) == 2
        await made.client.give(event(made.client))
        assert made.pull.problems == []


async def test_untaken_dead_letter_is_told() -> None:
    """The problem of the delivery is one of the pull."""
    async with pulling() as made:
        made.client.answer = lambda *_: b"{}"
        made.go.set()
        await made.client.give(event(made.client, b"bad"))
        await settle()
        assert made.pull.problems == ["a dead letter was not taken: refused: None"]


async def test_events_in_hand_are_kept_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server is told three times per `ack_wait`, until the event is done."""
    due: list[Callable[[], None]] = []
    delays: list[float] = []
    timers: list[asyncio.TimerHandle] = []

    class Loop:
        create_task = staticmethod(asyncio.get_running_loop().create_task)

        @staticmethod
        def call_later(delay: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
            delays.append(delay)
            due.append(callback)
            timers.append(asyncio.get_running_loop().call_later(1e6, callback))
            return timers[-1]

    async with pulling() as made:
        monkeypatch.setattr("app.events.pull.asyncio", SimpleNamespace(**vars(asyncio) | {"get_running_loop": Loop}))
        made.pull.update(pending=0, paused=True, max_deliver=1, ack_wait=60.0)
        assert made.pull.paused
        await made.client.give(event(made.client))
        for _ in range(2):
            due[-1]()
            await settle()
        assert (made.client.said, delays) == (["+WPI", "+WPI"], [20.0, 20.0, 20.0])
        made.go.set()
        await settle()
        assert (made.client.said[-1], made.pull.in_hand, timers[-1].cancelled()) == ("+ACK", 0, True)
        monkeypatch.undo()


async def test_update_sets_the_last_delivery() -> None:
    """The number of deliveries after which an event becomes a dead letter."""
    made = Made()
    made.pull.update(pending=3, paused=False, max_deliver=4, ack_wait=1.0)
    assert (made.pull.pending, made.pull._delivery.max_deliver) == (3, 4)


async def test_cancelled() -> None:
    """It unsubscribes; what has arrived by then is still handled."""
    async with pulling() as made:
        await made.client.give(event(made.client))
    assert made.client.drained
    assert made.client.said == ["+ACK"]
