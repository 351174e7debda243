"""One durable consumer: which streams it finds, how it makes or checks its durable there, and what it reports."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import msgspec
import pytest
from nats.aio.client import Client
from nats.errors import NoRespondersError
from nats.js.api import ConsumerConfig, ConsumerInfo
from nats.js.errors import BadRequestError, NotFoundError

from app.events.counts import Counts
from app.events.durable import Consumer, api_of
from app.events.durable_config import wanted
from app.events.pull import Pull
from app.settings import Settings
from tests.support.waiting import until_async
from tests.unit.app.events.fakes import FakeClient, Observed

pytestmark = pytest.mark.anyio

WANTED = wanted("oo-serving-signals", "signals.>")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks follow each other without a pause."""
    monkeypatch.setattr("app.events.durable.LOOK_SECONDS", 0.0)
    monkeypatch.setattr("app.events.durable.FIRST_PAUSE_SECONDS", 0.0)


class FakePull:
    """Notes what it is told of the durable."""

    def __init__(self, stream: str) -> None:
        self.stream = stream
        self.running = False
        self.asked_again = 0
        self.pending = 0
        self.paused = False
        self.problems: list[str] = []
        self.told: dict[str, Any] = {}

    async def run(self) -> None:
        self.running = True
        try:
            await asyncio.Event().wait()
        finally:
            self.running = False

    def ask_again(self) -> None:
        self.asked_again += 1

    def update(self, *, pending: int, paused: bool, **told: Any) -> None:
        self.pending, self.paused, self.told = pending, paused, told


class FakeServer(FakeClient):
    """Streams by name with their subjects, and the durable on each."""

    def __init__(self, **streams: str) -> None:
        super().__init__(self.names)
        self.streams = streams
        self.durables: dict[str, ConsumerConfig] = {}
        self.info: dict[str, Any] = {"num_pending": 5}
        self.refuses: Exception | None = None
        self.looks = 0
        self.domain: str | None = None

    def names(self, subject: str, body: bytes) -> bytes:
        assert subject == ("$JS.hub.API.STREAM.NAMES" if self.domain else "$JS.API.STREAM.NAMES")
        self.looks += 1
        if self.refuses is not None:
            raise self.refuses
        part = msgspec.json.decode(body)["subject"]
        return msgspec.json.encode({"streams": [name for name, of in self.streams.items() if of == part] or None})

    def jetstream(self, *, timeout: float, domain: str | None) -> "FakeServer":
        self.domain = domain
        return self

    async def consumer_info(self, stream: str, durable: str) -> ConsumerInfo:
        assert durable == "oo-serving-signals"
        if stream not in self.durables:
            raise NotFoundError
        return ConsumerInfo(
            name=durable, stream_name=stream, config=self.durables[stream], created=cast("Any", None), **self.info
        )

    async def add_consumer(self, stream: str, config: ConsumerConfig) -> ConsumerInfo:
        if stream == "full":
            raise BadRequestError(code=400, description="maximum consumers limit reached")
        self.durables[stream] = config
        return await self.consumer_info(stream, "oo-serving-signals")

    async def add_stream(self, name: str, subjects: list[str]) -> None:
        if name == "dlq":
            raise BadRequestError(code=400, description="stream name already in use")
        self.streams[name] = subjects[0]


class Made:
    def __init__(self, server: FakeServer, **settings: Any) -> None:
        self.server = server
        self.observed = Observed()
        self.pulls: list[FakePull] = []
        self.consumer = Consumer("signals", Settings(**settings), self.observed.counts, self.pull)

    def pull(self, client: Client, stream: str, durable: str, counts: Counts) -> Pull:
        assert (durable, counts) == ("oo-serving-signals", self.observed.counts)
        self.pulls.append(FakePull(stream))
        return cast("Pull", self.pulls[-1])

    async def looked(self, problem: str | None) -> None:
        """Wait until this is the problem and two more looks have not changed it."""

        async def told() -> bool:
            return self.consumer.problem == problem

        await until_async(told, f"{problem} instead of {self.consumer.problem}")
        before = self.server.looks

        async def twice() -> bool:
            return self.server.looks >= before + 6

        await until_async(twice, "two more looks")
        assert self.consumer.problem == problem


@asynccontextmanager
async def consuming(server: FakeServer, **settings: Any) -> AsyncIterator[Made]:
    made = Made(server, **settings)
    task = asyncio.create_task(made.consumer.run(server.real))
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.wait([task])
    assert not any(pull.running for pull in made.pulls)


@pytest.mark.parametrize(("domain", "api"), [("", "$JS.API"), ("hub", "$JS.hub.API")])
def test_api(domain: str, api: str) -> None:
    """The start of the subjects depends on the domain."""
    assert api_of(domain) == api


async def test_durables_are_made_on_every_stream(caplog: pytest.LogCaptureFixture) -> None:
    """On each that holds some of the subject; each is pulled from once, and pending events add up."""
    caplog.set_level(logging.INFO, "oo.events")
    async with consuming(FakeServer(A="signals.>", B="signals.>", C="other", dlq="dlq.signals.>")) as made:
        await made.looked(None)
        assert made.server.durables == {"A": WANTED, "B": WANTED}
        assert [(pull.stream, pull.running) for pull in made.pulls] == [("A", True), ("B", True)]
        assert (made.consumer.pending, made.observed.waiting[-1], made.consumer.looked) == (10, 10, True)
        assert made.pulls[0].told == {"max_deliver": 5, "ack_wait": 10.0}
    assert caplog.messages == [
        line
        for stream in "AB"
        for line in (
            f"consumer signals: made durable oo-serving-signals on stream {stream}",
            f"consumer signals: pulls from stream {stream}",
        )
    ]


async def test_missing_streams_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """In /health all the time, in the log once."""
    missing = "no stream has signals.>; no stream takes dlq.signals.>, so events that cannot be handled come again"
    async with consuming(FakeServer()) as made:
        await made.looked(missing)
    assert caplog.messages == [f"consumer signals: {missing}"]


async def test_missing_streams_are_made() -> None:
    """With NATS_CREATE_STREAMS; one that cannot be made is told, and the others are used."""
    async with consuming(FakeServer(), nats_create_streams=True) as made:
        await made.looked(
            "stream dlq cannot be made: stream name already in use; "
            "no stream takes dlq.signals.>, so events that cannot be handled come again"
        )
        assert made.server.streams == {"signals": "signals.>"}
        assert [pull.stream for pull in made.pulls] == ["signals"]


async def test_trouble_with_one_stream_is_not_that_of_others() -> None:
    """It is told, and the others are consumed."""
    async with consuming(FakeServer(full="signals.>", B="signals.>", dlq="dlq.signals.>")) as made:
        await made.looked(
            "durable oo-serving-signals on stream full cannot be looked at: maximum consumers limit reached"
        )
        assert [pull.stream for pull in made.pulls] == ["B"]


async def test_existing_durable_is_used_as_it_is() -> None:
    """What differs is told, and its lower limit counts."""
    server = FakeServer(A="signals.>", dlq="dlq.signals.>")
    server.durables["A"] = WANTED.evolve(max_deliver=2, ack_wait=7.0)
    async with consuming(server) as made:
        await made.looked(
            "durable oo-serving-signals on stream A was left as it is: "
            "ack_wait 7.0 instead of 10.0, max_deliver 2 instead of -1"
        )
        assert made.pulls[0].told == {"max_deliver": 2, "ack_wait": 7.0}
        assert server.durables["A"].max_deliver == 2


async def test_durable_that_becomes_useless_is_left() -> None:
    """Its stream is no longer pulled from, and is again when the durable is deleted."""
    server = FakeServer(A="signals.>", dlq="dlq.signals.>")
    async with consuming(server) as made:
        await made.looked(None)
        server.durables["A"] = WANTED.evolve(headers_only=True)
        await made.looked(
            "durable oo-serving-signals on stream A was left as it is and cannot be used: "
            "headers_only True instead of None"
        )
        assert (made.consumer.pulls, made.pulls[0].running) == ({}, False)
        del server.durables["A"]
        await made.looked(None)
        assert [pull.running for pull in made.pulls] == [False, True]


async def test_deleted_durable_is_made_again() -> None:
    """The request that was open was deleted with it."""
    server = FakeServer(A="signals.>", dlq="dlq.signals.>")
    async with consuming(server) as made:
        await made.looked(None)
        del server.durables["A"]
        await made.looked(None)
        assert (server.durables["A"], made.pulls[0].asked_again, len(made.pulls)) == (WANTED, 1, 1)


async def test_stream_that_goes_is_left() -> None:
    """Its pull ends."""
    server = FakeServer(A="signals.>", dlq="dlq.signals.>")
    async with consuming(server) as made:
        await made.looked(None)
        del server.streams["A"]
        await made.looked("no stream has signals.>")
        assert (made.consumer.pulls, made.pulls[0].running, made.consumer.looked) == ({}, False, True)


async def test_paused() -> None:
    """Paused means on every stream; each pause is told with its end, before the problems of the pull."""
    server = FakeServer(A="signals.>", B="signals.>", dlq="dlq.signals.>")
    async with consuming(server) as made:
        await made.looked(None)
        seen = [made.consumer.paused]
        server.info["paused"] = True
        server.durables["A"] = server.durables["B"] = WANTED.evolve(pause_until="2100-01-01")
        made.pulls[0].problems = ["nothing is delivered: x"]
        paused = "durable oo-serving-signals on stream {} is paused until 2100-01-01"
        await made.looked(f"{paused.format('A')}; stream A: nothing is delivered: x; {paused.format('B')}")
        seen.append(made.consumer.paused)
        made.pulls[0].paused = False
        assert [*seen, made.consumer.paused] == [False, True, False]


@pytest.mark.parametrize(
    ("domain", "error", "problem"),
    [
        ("", NoRespondersError(), "the server has no JetStream"),
        ("hub", NoRespondersError(), "no JetStream answers for the domain hub"),
        ("", TimeoutError(), "JetStream does not answer as expected: TimeoutError"),
        ("", BadRequestError(code=400, description="no"), "JetStream does not answer as expected: no"),
    ],
)
async def test_jetstream_that_does_not_answer(domain: str, error: Exception, problem: str) -> None:
    """It is told, what was pulled from stays, and it goes on when JetStream answers."""
    server = FakeServer(A="signals.>", dlq="dlq.signals.>")
    async with consuming(server, nats_jetstream_domain=domain) as made:
        await made.looked(None)
        server.refuses = error
        await made.looked(problem)
        assert (made.consumer.looked, list(made.consumer.pulls)) == (False, ["A"])
        server.refuses = None
        await made.looked(None)
        assert made.consumer.looked


async def test_refused_question() -> None:
    """The server's words are told."""
    server = FakeServer()
    server.answer = lambda *_: b'{"error": {"description": "not enabled for account"}}'
    made = Made(server)
    assert not await made.consumer._look(server.real, cast("Any", server))
    assert made.consumer.problem == "JetStream does not answer as expected: not enabled for account"


async def test_failed_pull_ends_the_consumer(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the connection is made anew."""

    async def fail(_: FakePull) -> None:
        raise OSError("broken")

    monkeypatch.setattr(FakePull, "run", fail)
    made = Made(FakeServer(A="signals.>", dlq="dlq.signals.>"))
    with pytest.raises(OSError, match="broken"):
        await asyncio.wait_for(made.consumer.run(made.server.real), 60)
