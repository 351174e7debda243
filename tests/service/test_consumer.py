"""The consumers against a real nats-server and a real Redis: events handled, failed, kept waiting, and given back."""

import asyncio
import json
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import nats
import pytest
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, DiscardPolicy, StreamConfig
from nats.js.errors import NotFoundError

from app.bandit.context import Context
from app.decisions.asked import Asked
from app.decisions.decide import Candidate
from app.decisions.make import Maker
from app.decisions.outcome import Outcomes
from app.events.consumers import Consumers
from app.events.counts import Observer
from app.events.handlers import TaskSync, Uses
from app.events.sync import Sync
from app.ledger.rules import Rules
from app.messages.decision_ids import decision_id
from app.messages.events import Happening
from app.messages.health import ConsumerHealth
from app.policies.catalog import catalog
from app.settings import Secret, Settings
from state.errors import ConflictError
from state.redis.connect import open_servers
from state.store import Store
from tests.support.nats_servers import nats_server
from tests.support.processes import Server, free_port
from tests.support.redis_servers import RedisServer, certificate, redis_server
from tests.support.waiting import PATIENCE_SECONDS, until_async

pytestmark = pytest.mark.anyio

SYNCED = "signals.task.synced"
AWAY = "store unavailable: Redis cannot be reached"


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time-outs are long: on a busy machine, a request that is repeated would be counted and told a second time."""
    monkeypatch.setattr("app.events.dead_letters.PUBLISH_SECONDS", PATIENCE_SECONDS / 2)
    monkeypatch.setattr("app.events.durable.API_SECONDS", PATIENCE_SECONDS / 2)


@pytest.fixture(scope="module")
def nats_at() -> Iterator[Server]:
    """One nats-server for this file; a test that stops one starts its own."""
    with nats_server() as server:
        yield server


@pytest.fixture
async def js(nats_at: Server) -> AsyncIterator[JetStreamContext]:
    """A connection of the test's own, to a server without streams."""
    async with connected(nats_at.url) as jetstream:
        for stream in await jetstream.streams_info():
            assert stream.config.name
            await jetstream.delete_stream(stream.config.name)
        yield jetstream


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[JetStreamContext]:
    client = await nats.connect(url)
    try:
        yield client.jetstream(timeout=PATIENCE_SECONDS)
    finally:
        await client.close()


@asynccontextmanager
async def decisions(redis_url: str) -> AsyncIterator[tuple[Sync, Store]]:
    """The real use-case over a real store, which may be slow: only a missing Redis counts as away."""
    servers = open_servers(redis_url, size=8, timeout=PATIENCE_SECONDS)
    store = Store(servers, timeout=PATIENCE_SECONDS, history_size=10, marker_seconds=60)
    try:
        yield Sync(store), store
    finally:
        await store.close()


async def ignore(_decision_id: str, _reward: float, _part: str | None) -> None: ...


@asynccontextmanager
async def consuming(
    url: str,
    tasks: TaskSync,
    ping: Callable[[], Awaitable[object]] | None = None,
    *,
    reward: Callable[[str, float, str | None], Awaitable[object]] = ignore,
    grace: float = 2.0,
    observer: Observer | None = None,
    **settings: Any,
) -> AsyncIterator[Consumers]:
    """Consumers that run; failed deliveries are repeated after a twentieth of a second, not a second."""

    consumers = Consumers(
        Settings(nats_url=Secret(url), **settings),
        Uses(tasks, reward),
        ping or Noting().ping,
        observer=observer,
        first_nak_seconds=0.05,
    )
    consumers.start()
    try:
        yield consumers
    finally:
        await consumers.stop(grace)


def signals(consumers: Consumers) -> ConsumerHealth:
    return consumers.health().consumers["signals"]


async def reach(consumers: Consumers, what: str, reached: Callable[[ConsumerHealth], object]) -> None:
    async def now() -> object:
        return reached(signals(consumers))

    try:
        await until_async(now, what)
    except Exception as error:
        error.add_note(str(consumers.health()))
        raise


async def running(consumers: Consumers) -> None:
    await reach(consumers, "consumer running", lambda health: health.state == "running")


async def settled(js: JetStreamContext, stream: str, sequence: int, durable: str = "oo-serving-signals") -> None:
    """Wait until the server knows everything up to `sequence` as acked or terminated."""

    async def done() -> bool:
        with suppress(NotFoundError):
            info = await js.consumer_info(stream, durable)
            return info.ack_floor is not None and info.ack_floor.stream_seq >= sequence
        return False

    await until_async(done, f"{sequence} settled on {stream}")


async def dead_letters(js: JetStreamContext, count: int) -> list[Msg]:
    """The first `count` dead letters."""
    found: list[Msg] = []
    subscription = await js.pull_subscribe("dlq.>", stream="dlq")
    while len(found) < count:
        found += await subscription.fetch(count - len(found), timeout=PATIENCE_SECONDS)
    return found


def synced(user: str, **fields: Any) -> bytes:
    return json.dumps({"user_id": user, **fields}).encode()


class Noting:
    """A use-case that only keeps the user ids; `answer` is awaited for each."""

    def __init__(self, answer: Callable[[str], Awaitable[None]] | None = None) -> None:
        self.users: list[str] = []
        self._answer = answer

    async def synced(self, user_id: str, fields: dict[str, str], received_at: float) -> None:
        self.users.append(user_id)
        if self._answer is not None:
            await self._answer(user_id)

    async def ping(self) -> None:
        pass


class Seen:
    """Counts what an observer is told."""

    def __init__(self) -> None:
        self.events: Counter[tuple[str, str]] = Counter()
        self.waiting: dict[str, int] = {}

    def event(self, consumer: str, happening: Happening) -> None:
        self.events[consumer, happening] += 1

    def pending(self, consumer: str, events: int) -> None:
        self.waiting[consumer] = events


async def test_streams_are_found_by_subject(nats_at: Server, js: JetStreamContext) -> None:
    """Every stream that holds some of the subjects gets the durable and is read, whatever its name."""
    await js.add_stream(name="WORK", subjects=["signals.task.*", "orders"])
    await js.add_stream(name="REST", subjects=["signals.tip.>", "feedback.>", "dlq.>"])
    noting = Noting()
    async with consuming(nats_at.url, noting) as consumers:
        await running(consumers)
        await js.publish("orders", b"not ours")
        await js.publish(SYNCED, synced("ann"))
        await js.publish("signals.tip.shown", b"whatever")
        await js.publish("feedback.tip", b"\xff")
        await reach(consumers, "two signals", lambda health: health.processed == 2)
        await settled(js, "WORK", 2)
        await settled(js, "REST", 2, "oo-serving-feedback")
        # What was pending when the service looked may be said until it looks again.
        await reach(consumers, "none left", lambda health: (health.in_hand, health.pending) == (0, 0))
        assert noting.users == ["ann"]
        health = signals(consumers)
        assert (health.errors, health.problem) == (0, None)
        assert health.last_msg_ts is not None
        assert len(health.last_msg_ts) == len("2026-01-01T00:00:00Z")
        assert consumers.health().consumers["feedback"].processed == 1
    info = await js.consumer_info("REST", "oo-serving-feedback")
    assert (info.config.filter_subject, info.config.max_deliver) == ("feedback.>", -1)


async def test_streams_are_waited_for_or_created(nats_at: Server, js: JetStreamContext) -> None:
    """A missing stream is reported and waited for; with NATS_CREATE_STREAMS the service makes it and `dlq`."""
    async with consuming(nats_at.url, Noting()) as consumers:
        await reach(consumers, "waiting", lambda health: health.state == "waiting for stream" and health.problem)
        assert "no stream has signals.>" in (signals(consumers).problem or "")
        await js.add_stream(name="signals", subjects=["signals.>"])
        await running(consumers)
        assert "no stream takes dlq.signals.>" in (signals(consumers).problem or "")
        assert consumers.health().consumers["feedback"].state == "waiting for stream"
    async with consuming(nats_at.url, Noting(), nats_create_streams=True) as consumers:
        await running(consumers)
        await reach(consumers, "no problem", lambda health: health.problem is None)
        streams = {stream.config.name: stream.config.subjects for stream in await js.streams_info()}
        assert streams["dlq"] == ["dlq.>"]
        assert streams["signals"] == ["signals.>"]


async def test_sync_is_written_and_an_older_one_does_not_overwrite_it(
    nats_at: Server, js: JetStreamContext, real_redis: RedisServer
) -> None:
    """The hash holds the event with the time at which the stream took it; an older one that is late is acked."""
    await js.add_stream(name="S", subjects=["signals.>"])
    held = asyncio.Event()
    async with decisions(real_redis.url) as (use_case, store):

        class OldestLast:
            """Lets the first event wait until the second is done."""

            async def synced(self, user_id: str, fields: dict[str, str], received_at: float) -> None:
                if fields["n"] == "1":
                    await held.wait()
                await use_case.synced(user_id, fields, received_at)
                held.set()

        async with consuming(nats_at.url, OldestLast(), store.ping) as consumers:
            await js.publish(SYNCED, synced("an}n", n=1, old=True))
            await js.publish(SYNCED, synced("an}n", n=2, tags=["a"]))
            await reach(consumers, "both handled", lambda health: health.processed == 2)
    with real_redis.client(decode_responses=True) as client:
        stored = client.hgetall("oo:{an%7Dn}:sync")
    assert {name: stored[name] for name in ("user_id", "n", "tags")} == {"user_id": "an}n", "n": "2", "tags": '["a"]'}
    assert "old" not in stored
    assert len(stored["received_at"]) == len("2026-01-01T00:00:00Z")


async def test_malformed_events_are_dead_lettered_and_block_no_others(nats_at: Server, js: JetStreamContext) -> None:
    """Twenty among good ones: each becomes a dead letter with reason, headers and body; the good ones are handled."""
    await js.add_stream(name="S", subjects=["signals.>"])
    await js.add_stream(name="dlq", subjects=["dlq.>"])
    bad = [b"", b"x", b"[]", b"{}", b"\xff", b"[" * 100_000, synced(""), synced("u" * 257), b"null", b'{"user_id": 1}']
    bad += [b"y" * 300_000, b"z" * 1_048_576, b'"', b"1e999", b'{"user_id": "u"', b'{"user_id": NaN}']
    bad += [b'{"user_id": ["u"]}', b"\x00", b"true", b'{"User_ID": "u"}']
    assert len(bad) == 20
    noting = Noting()
    async with consuming(nats_at.url, noting) as consumers:
        for number, body in enumerate(bad):
            headers = {"Trace": f"t{number}", "Nats-Msg-Id": f"m{number}", "Status": "503"}
            await js.publish(SYNCED, body, headers=headers if len(body) < 1_000_000 else None)
            await js.publish(SYNCED, synced(f"good{number}"))
        await reach(consumers, "all done", lambda health: (health.processed, health.dead_lettered) == (20, 20))
        assert signals(consumers).errors == 20
        await settled(js, "S", 40)
    assert sorted(noting.users) == sorted(f"good{number}" for number in range(20))
    letters = {int(letter.headers["Dlq-Sequence"]): letter for letter in await dead_letters(js, 20) if letter.headers}
    for number, body in enumerate(bad):
        letter = letters[2 * number + 1]
        assert letter.headers is not None
        assert letter.subject == f"dlq.{SYNCED}"
        assert letter.headers["Dlq-Reason"].startswith("malformed: ")
        assert letter.headers["Dlq-Stream"] == "S"
        if len(body) == 1_048_576:  # no room for a header beside it
            assert body.startswith(letter.data)
            assert "1048576 bytes" in letter.headers["Dlq-Cut"]
        else:
            assert letter.data == body
            assert letter.headers["Trace"] == f"t{number}"
            assert letter.headers["Original-Nats-Msg-Id"] == f"m{number}"


UNREADABLE = {
    "status that is no text": (SYNCED, b"NATS/1.0 \xff\xff\xff\r\n\r\n"),
    "no line end": (SYNCED, b"NATS/1.0"),
    "description that is no text": (SYNCED, b"NATS/1.0 200 \xff\xfe\r\n\r\n"),
    "headers that are no text": (SYNCED, b"NATS/1.0\r\nA: \xff\r\n\xfe\r\n\r\n"),
    "subject that is no text": ("signals.\udcff\udcfe", b""),
    "subject with a form feed": ("signals.a\x0cb", b""),
    "subject with a vertical tab": ("signals.a\x0bb", b""),
}


async def raw_publish(server: Server, subject: str, headers: bytes, body: bytes, times: int) -> None:
    """Publish as no client library would."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    sizes = f"{len(headers)} {len(headers) + len(body)}" if headers else f"{len(body)}"
    line = f"{'HPUB' if headers else 'PUB'} {subject} {sizes}\r\n".encode("utf-8", "surrogateescape")
    writer.write(
        b'CONNECT {"verbose": false, "headers": true}\r\n' + (line + headers + body + b"\r\n") * times + b"PING\r\n"
    )
    await reader.readuntil(b"PONG\r\n")
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("case", UNREADABLE)
async def test_events_that_nats_py_cannot_read_end_nothing(nats_at: Server, js: JetStreamContext, case: str) -> None:
    """With strange headers they are read by their bodies, with a strange subject they are acked; all are settled."""
    await js.add_stream(name="S", subjects=["signals.>"])
    await js.add_stream(name="dlq", subjects=["dlq.>"])
    subject, headers = UNREADABLE[case]
    noting = Noting()
    async with consuming(nats_at.url, noting) as consumers:
        await running(consumers)
        await raw_publish(nats_at, subject, headers, b"x", times=100)
        await js.publish(SYNCED, synced("u"))
        lettered = 100 if subject == SYNCED else 0
        await reach(
            consumers,
            "all done",
            lambda health: (health.processed, health.dead_lettered) == (101 - lettered, lettered),
        )
        await settled(js, "S", 101)
    assert noting.users == ["u"]


async def test_client_that_reads_no_more_is_replaced(
    nats_at: Server, js: JetStreamContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """nats-py still says that it is connected when its reading has ended."""
    monkeypatch.setattr("app.events.consumers.WATCH_SECONDS", 0.1)
    await js.add_stream(name="S", subjects=["signals.>"])
    quick = ConsumerConfig(durable_name="oo-serving-signals", filter_subject="signals.>", ack_wait=0.3)
    await js.add_consumer("S", quick)  # what the server sent to the old connection comes again soon
    async with consuming(nats_at.url, Noting()) as consumers:
        await running(consumers)
        client = consumers._client
        assert client is not None
        assert client._reading_task is not None
        client._reading_task.cancel()
        await js.publish(SYNCED, synced("u"))
        await reach(consumers, "handled", lambda health: health.processed >= 1)


async def test_flood_of_large_events_passes(nats_at: Server, js: JetStreamContext) -> None:
    """They are asked for in portions that fit into memory, one right after the other."""
    await js.add_stream(name="S", subjects=["signals.>"])
    await js.add_stream(name="dlq", subjects=["dlq.>"])
    for _ in range(200):
        await js.publish(SYNCED, b"x" * 1_000_000)
    await js.publish(SYNCED, synced("u"))
    async with consuming(nats_at.url, Noting()) as consumers:
        await reach(consumers, "all done", lambda health: (health.processed, health.dead_lettered) == (1, 200))


async def test_failing_event_comes_again_until_its_last_delivery(nats_at: Server, js: JetStreamContext) -> None:
    """NATS_MAX_DELIVER deliveries with growing pauses, then a dead letter that says what failed; others go on."""
    await js.add_stream(name="S", subjects=["signals.>"])
    await js.add_stream(name="dlq", subjects=["dlq.>"])

    async def fail(user: str) -> None:
        if user == "bad":
            raise ConflictError("others were first")

    noting, seen = Noting(fail), Seen()
    async with consuming(nats_at.url, noting, observer=seen, nats_max_deliver=3) as consumers:
        await js.publish(SYNCED, synced("bad"))
        await js.publish(SYNCED, synced("good"))
        await reach(consumers, "both done", lambda health: (health.processed, health.dead_lettered) == (1, 1))
        assert signals(consumers).errors == 3
        await settled(js, "S", 2)
    assert noting.users.count("bad") == 3
    assert seen.events == {("signals", "processed"): 1, ("signals", "failed"): 3, ("signals", "dead_lettered"): 1}
    assert "signals" in seen.waiting
    [letter] = await dead_letters(js, 1)
    assert letter.headers is not None
    assert letter.headers["Dlq-Reason"] == "failed 3 times, at last with ConflictError: others were first"
    assert letter.headers["Dlq-Delivered"] == "3"


async def test_dead_letter_without_a_stream_does_not_end_the_event(nats_at: Server, js: JetStreamContext) -> None:
    """The event comes again until there is a stream for `dlq.>`."""
    await js.add_stream(name="S", subjects=["signals.>"])
    async with consuming(nats_at.url, Noting(), nats_max_deliver=1) as consumers:
        await js.publish(SYNCED, b"bad")
        await reach(consumers, "several deliveries", lambda health: health.errors >= 3)
        info = await js.consumer_info("S", "oo-serving-signals")
        assert info.num_ack_pending == 1
        await js.add_stream(name="dlq", subjects=["dlq.>"])
        await reach(consumers, "dead letter", lambda health: health.dead_lettered == 1)
        await settled(js, "S", 1)
    await dead_letters(js, 1)


async def test_existing_durable_is_reported_and_left_as_it_is(
    nats_at: Server, js: JetStreamContext, caplog: pytest.LogCaptureFixture
) -> None:
    """Its lower limit counts: the dead letter comes before the server would drop the event silently."""
    await js.add_stream(name="S", subjects=["signals.>"])
    await js.add_stream(name="dlq", subjects=["dlq.>"])
    theirs = ConsumerConfig(durable_name="mine-signals", filter_subject="signals.>", max_deliver=2, ack_wait=7.0)
    await js.add_consumer("S", theirs)

    async def fail(_: str) -> None:
        raise ConflictError("always")

    with caplog.at_level(logging.INFO, "oo.events"):
        async with consuming(nats_at.url, Noting(fail), nats_durable_prefix="mine") as consumers:
            await js.publish(SYNCED, synced("u"))
            await reach(consumers, "dead letter", lambda health: health.dead_lettered == 1)
            problem = signals(consumers).problem or ""
    assert "left as it is: ack_wait 7.0 instead of 10.0, max_deliver 2 instead of -1" in problem
    assert sum("left as it is" in record.getMessage() for record in caplog.records) == 1
    info = await js.consumer_info("S", "mine-signals")
    assert (info.config.max_deliver, info.config.ack_wait) == (2, 7.0)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"max_batch": 100}, "stream S: nothing is delivered: Exceeded MaxRequestBatch of 100"),
        ({"max_expires": 2_000_000_000}, "stream S: nothing is delivered: Exceeded MaxRequestExpires of 2s"),
        ({"max_bytes": 1_000}, "stream S: nothing is delivered: Exceeded MaxRequestMaxBytes of 1000"),
        ({"inactive_threshold": 60_000_000_000}, "left as it is: inactive_threshold 60.0 instead of None"),
        ({"deliver_policy": "new"}, "left as it is: deliver_policy new instead of all"),
        ({"replay_policy": "original"}, "left as it is: replay_policy original instead of instant"),
        ({"ack_policy": "all"}, "left as it is: ack_policy all instead of explicit"),
        ({"backoff": [], "headers_only": False, "inactive_threshold": 0}, None),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
async def test_what_differs_in_a_durable_is_told(
    nats_at: Server,
    js: JetStreamContext,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    setting: dict[str, Any],
    words: str | None,
) -> None:
    """Once in the log, and in /health all the time; some limits are known only from a refused request for events."""
    monkeypatch.setattr("app.events.durable.LOOK_SECONDS", 0.1)
    await js.add_stream(name="S", subjects=["signals.>"])
    await js.add_stream(name="dlq", subjects=["dlq.>"])
    await add_durable(js, "S", **setting)
    with caplog.at_level(logging.INFO, "oo.events"):
        async with consuming(nats_at.url, Noting()) as consumers:
            await running(consumers)
            await js.publish(SYNCED, synced("u"))
            if words is None or words.startswith("left"):
                await reach(consumers, "used as it is", lambda health: health.processed == 1)
            if words is None:
                assert signals(consumers).problem is None
            else:
                await reach(consumers, "told", lambda health: words in (health.problem or ""))
                assert sum(words in record.getMessage() for record in caplog.records) == 1


async def add_durable(js: JetStreamContext, stream: str, **settings: Any) -> None:
    """A durable as the service makes it but for some settings; nats-py does not know all of them."""
    config: dict[str, Any] = {
        "durable_name": "oo-serving-signals",
        "filter_subject": "signals.>",
        "ack_policy": "explicit",
    }
    config |= {"ack_wait": 10_000_000_000, "max_deliver": -1, "max_ack_pending": 10_000, **settings}
    asked = json.dumps({"stream_name": stream, "config": config}).encode()
    answer = await js._nc.request(
        f"$JS.API.CONSUMER.DURABLE.CREATE.{stream}.oo-serving-signals", asked, PATIENCE_SECONDS
    )
    assert "error" not in json.loads(answer.data)


async def test_durable_that_gives_no_bodies_is_not_used(nats_at: Server, js: JetStreamContext) -> None:
    """Its good events would become empty dead letters. Deleted and made again, it delivers them all."""
    await js.add_stream(name="S", subjects=["signals.>"])
    await js.add_stream(name="dlq", subjects=["dlq.>"])
    await add_durable(js, "S", headers_only=True)
    await js.publish(SYNCED, synced("u"))
    noting = Noting()
    async with consuming(nats_at.url, noting) as consumers:
        told = "left as it is and cannot be used: headers_only True instead of None"
        await reach(consumers, "reported", lambda health: told in (health.problem or ""))
        assert signals(consumers).state == "waiting for stream"
        await js.delete_consumer("S", "oo-serving-signals")
        await reach(consumers, "used", lambda health: health.processed == 1 and health.problem is None)
    assert noting.users == ["u"]
    assert (await js.stream_info("dlq")).state.messages == 0


async def test_durable_that_becomes_useless_is_left_alone(
    nats_at: Server, js: JetStreamContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When it is changed while in use, its stream is no longer consumed."""
    monkeypatch.setattr("app.events.durable.LOOK_SECONDS", 0.1)
    await js.add_stream(name="S", subjects=["signals.>"])
    async with consuming(nats_at.url, Noting()) as consumers:
        await running(consumers)
        info = await js.consumer_info("S", "oo-serving-signals")
        info.config.headers_only = True
        await js.add_consumer("S", info.config)
        # First it is left, which takes a moment, then that is told.
        await reach(consumers, "told", lambda health: "cannot be used" in (health.problem or ""))
        assert signals(consumers).state == "waiting for stream"


async def test_trouble_with_one_stream_is_not_that_of_others(
    nats_at: Server, js: JetStreamContext, caplog: pytest.LogCaptureFixture
) -> None:
    """A stream that takes no durable is reported; the other stream is consumed."""
    await js.add_stream(name="A", subjects=["signals.a.>"], max_consumers=1)
    await js.add_stream(name="B", subjects=["signals.task.>"])
    await js.add_stream(name="dlq", subjects=["dlq.>"])
    await js.add_consumer("A", ConsumerConfig(durable_name="other"))
    async with consuming(nats_at.url, Noting()) as consumers:
        await js.publish(SYNCED, synced("u"))
        told = "durable oo-serving-signals on stream A cannot be looked at: maximum consumers limit reached"
        wanted = (1, "running", told)
        # Pulling begins within a look, what is to be told is known after it.
        await reach(
            consumers, "handled, told", lambda health: (health.processed, health.state, health.problem) == wanted
        )
        assert sum(told in record.getMessage() for record in caplog.records) == 1


async def test_trouble_in_making_streams_is_told(nats_at: Server, js: JetStreamContext) -> None:
    """When another stream has the name of a missing one, that is reported, and the rest goes on."""
    await js.add_stream(name="S", subjects=["signals.>"])
    await js.add_stream(name="dlq", subjects=["something.else"])
    await js.add_stream(name="feedback", subjects=["something.other"])
    async with consuming(nats_at.url, Noting(), nats_create_streams=True) as consumers:
        await js.publish(SYNCED, synced("u"))
        await reach(consumers, "handled", lambda health: health.processed == 1)
        problem = signals(consumers).problem or ""
        assert "stream dlq cannot be made: stream name already in use" in problem
        assert "no stream takes dlq.signals.>" in problem

        async def told() -> bool:
            feedback = consumers.health().consumers["feedback"].problem or ""
            return "stream feedback cannot be made: stream name already in use" in feedback

        await until_async(told, "told of feedback too")


async def test_full_stream_of_dead_letters_is_told_until_it_takes_one(
    nats_at: Server, js: JetStreamContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Meanwhile events that cannot be handled come again; nothing else would show it."""
    monkeypatch.setattr("app.events.durable.LOOK_SECONDS", 0.1)
    await js.add_stream(name="S", subjects=["signals.>"])
    full = StreamConfig(name="dlq", subjects=["dlq.>"], max_msgs=1, discard=DiscardPolicy.NEW)
    await js.add_stream(full)
    async with consuming(nats_at.url, Noting()) as consumers:
        for _ in range(2):
            await js.publish(SYNCED, b"bad")
        told = "stream S: a dead letter was not taken: refused: maximum messages exceeded"
        await reach(consumers, "told", lambda health: health.problem == told)
        await js.purge_stream("dlq")
        await reach(consumers, "taken", lambda health: health.dead_lettered == 2 and health.problem is None)


async def test_durable_that_pushes_is_reported_and_not_touched(nats_at: Server, js: JetStreamContext) -> None:
    """It cannot be pulled from, so the state is that of a missing stream."""
    await js.add_stream(name="S", subjects=["signals.>"])
    pushing = ConsumerConfig(durable_name="oo-serving-signals", deliver_subject="elsewhere", filter_subject="signals.>")
    await js.add_consumer("S", pushing)
    async with consuming(nats_at.url, Noting()) as consumers:
        await reach(consumers, "reported", lambda health: "cannot be used" in (health.problem or ""))
        assert signals(consumers).state == "waiting for stream"
    assert (await js.consumer_info("S", "oo-serving-signals")).config.deliver_subject == "elsewhere"


async def test_store_away_costs_no_delivery(nats_at: Server, js: JetStreamContext) -> None:
    """Even when a single delivery is allowed, events wait in hand, and all are handled afterwards."""
    await js.add_stream(name="S", subjects=["signals.>"])
    await js.add_stream(name="dlq", subjects=["dlq.>"])
    with redis_server() as redis:
        async with (
            decisions(redis.url) as (use_case, store),
            consuming(nats_at.url, use_case, store.ping, nats_max_deliver=1) as consumers,
        ):
            await running(consumers)
            redis.stop()
            for number in range(50):
                await js.publish(SYNCED, synced(f"u{number}"))
            await reach(consumers, "noticed", lambda health: health.problem == AWAY and health.in_hand)
            assert consumers.health().consumers["feedback"].problem == AWAY
            await asyncio.to_thread(redis.start)  # the consumers must be able to keep their events meanwhile
            await reach(consumers, "all handled", lambda health: health.processed == 50)
            await settled(js, "S", 50)
            health, info = signals(consumers), await js.consumer_info("S", "oo-serving-signals")
            assert (health.errors, health.dead_lettered, health.problem) == (0, 0, None)
            assert info.delivered is not None
            assert info.delivered.consumer_seq == 50
        assert redis.command("DBSIZE") >= 50


async def test_store_that_answers_and_takes_nothing_is_told(
    nats_at: Server, js: JetStreamContext, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one master of a Cluster while others answer every PING: it is a problem as long as an event waits for it."""
    monkeypatch.setattr("app.events.store_gate.SAY_SECONDS", 3_600.0)  # one line, however long three answers take
    await js.add_stream(name="S", subjects=["signals.>"])
    await js.add_stream(name="dlq", subjects=["dlq.>"])
    told = "store unavailable: Redis refuses: OutOfMemoryError"
    pings = 0
    with redis_server() as redis:
        async with decisions(redis.url) as (use_case, store):

            async def ping() -> None:
                nonlocal pings
                await store.history("u")
                pings += 1

            async with consuming(nats_at.url, use_case, ping) as consumers:
                await running(consumers)
                redis.command("CONFIG", "SET", "maxmemory", "1")
                await js.publish(SYNCED, synced("u"))
                await reach(consumers, "told", lambda health: health.problem == told)
                seen = set()

                async def answered() -> bool:
                    seen.add(signals(consumers).problem)
                    return pings >= 3

                await until_async(answered, "answered three times")
                assert seen == {told}
                redis.command("CONFIG", "SET", "maxmemory", "0")
                await reach(consumers, "handled", lambda health: health.processed == 1)
                assert signals(consumers).problem is None
    assert sum(told in record.getMessage() for record in caplog.records) == 1


async def test_replica_that_alone_lost_the_store_gives_its_events_to_others(
    nats_at: Server, js: JetStreamContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while in hand. That is not a failure, even when a single delivery is allowed, and it asks for no more."""
    monkeypatch.setattr("app.events.delivery.HOLD_SECONDS", 0.2)
    await js.add_stream(name="S", subjects=["signals.>"])
    await js.add_stream(name="dlq", subjects=["dlq.>"])
    noting = Noting()
    async with (
        decisions(f"redis://127.0.0.1:{free_port()}") as (use_case, store),
        consuming(nats_at.url, use_case, store.ping, nats_max_deliver=1) as cut_off,
    ):
        await js.publish(SYNCED, synced("u"))
        await reach(cut_off, "in hand", lambda health: health.in_hand)
        async with consuming(nats_at.url, noting, nats_max_deliver=1) as other:
            await reach(other, "taken over", lambda health: health.processed == 1)
        assert (signals(cut_off).errors, signals(cut_off).problem) == (0, AWAY)
    assert noting.users == ["u"]
    assert (await js.stream_info("dlq")).state.messages == 0


async def test_slow_handler_keeps_its_event(
    nats_at: Server, js: JetStreamContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server is told three times per `ack_wait`, three times as long as it waits for an ack, and delivers it once.

    Timers are hurried: of an `ack_wait` that a test can wait for, a busy machine would miss a third.
    """
    await js.add_stream(name="S", subjects=["signals.>"])
    durable = ConsumerConfig(durable_name="oo-serving-signals", filter_subject="signals.>", ack_wait=60.0)
    await js.add_consumer("S", durable)
    delays: list[float] = []

    class Hurried:
        """The loop, as the deliveries see it."""

        def __init__(self) -> None:
            self.create_task = asyncio.get_running_loop().create_task

        def call_later(self, delay: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
            delays.append(delay)
            return asyncio.get_running_loop().call_later(0.01, callback)

    monkeypatch.setattr("app.events.pull.asyncio", SimpleNamespace(**vars(asyncio) | {"get_running_loop": Hurried}))
    told: list[str] = []
    often = asyncio.Event()

    async def hear(msg: Msg) -> None:
        if msg.data == b"+WPI":
            told.append(msg.subject)
        if len(told) == 9:
            often.set()

    async def slow(_: str) -> None:
        await often.wait()

    await js._nc.subscribe("$JS.ACK.S.oo-serving-signals.>", cb=hear)
    noting = Noting(slow)
    async with consuming(nats_at.url, noting) as consumers:
        await js.publish(SYNCED, synced("u"))
        await reach(consumers, "handled", lambda health: health.processed == 1)
        await settled(js, "S", 1)
    assert set(delays) == {20.0}
    assert len(set(told)) == 1
    assert noting.users == ["u"]
    info = await js.consumer_info("S", "oo-serving-signals")
    assert info.delivered is not None
    assert info.delivered.consumer_seq == 1


async def test_stop_finishes_what_it_can_and_gives_back_the_rest(nats_at: Server, js: JetStreamContext) -> None:
    """An event that ends within the grace period is acked; one that does not goes to another replica at once."""
    await js.add_stream(name="S", subjects=["signals.>"])
    stopping = asyncio.Event()

    async def until_stop(user: str) -> None:
        if user == "quick":
            await stopping.wait()
        else:
            await asyncio.Event().wait()

    first, second = Noting(until_stop), Noting()
    async with consuming(nats_at.url, first, grace=PATIENCE_SECONDS) as consumers:
        await js.publish(SYNCED, synced("quick"))
        await reach(consumers, "in hand", lambda health: health.in_hand == 1)
        asyncio.get_running_loop().call_later(0.05, stopping.set)
    assert signals(consumers).processed == 1
    async with consuming(nats_at.url, first, grace=0.3) as consumers:
        await js.publish(SYNCED, synced("endless"))
        await reach(consumers, "in hand", lambda health: health.in_hand == 1)
    assert signals(consumers).processed == 0
    async with consuming(nats_at.url, second) as other:
        await reach(other, "the other replica has it", lambda health: health.processed == 1)
        await settled(js, "S", 2)
    assert second.users == ["endless"]


async def test_stop_waits_for_no_store(nats_at: Server, js: JetStreamContext) -> None:
    """With Redis away the events in hand are given back at once, however long the grace period is.

    Also before they would be given back without a stop, which is after a minute.
    """
    await js.add_stream(name="S", subjects=["signals.>"])
    async with (
        decisions(f"redis://127.0.0.1:{free_port()}") as (use_case, store),
        asyncio.timeout(45),
        consuming(nats_at.url, use_case, store.ping, grace=120) as consumers,
    ):
        await js.publish(SYNCED, synced("u"))
        await reach(consumers, "in hand", lambda health: health.problem == AWAY and health.in_hand)
    noting = Noting()
    async with consuming(nats_at.url, noting) as other:
        await reach(other, "given back", lambda health: health.processed == 1)


@pytest.fixture(params=["asyncio as it is", "asyncio before 3.11.4"])
def each_timeout(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until Python 3.11.4 asyncio.timeout raised CancelledError where a cancelled task waited for its own end."""
    if request.param == "asyncio as it is":
        return
    enter = asyncio.Timeout.__aenter__

    async def enter_as_before(self: asyncio.Timeout) -> asyncio.Timeout:
        await enter(self)
        self._cancelling = 0  # type: ignore[attr-defined]  # the cancellations that are not its own, then not counted
        return self

    monkeypatch.setattr(asyncio.Timeout, "__aenter__", enter_as_before)


@pytest.mark.usefixtures("each_timeout")
async def test_stop_closes_a_connection_to_a_server_that_hangs() -> None:
    """A shutdown does not wait for an answer of the server, and leaves no task behind."""
    with nats_server() as server:
        before = asyncio.all_tasks()
        async with consuming(server.url, Noting(), nats_create_streams=True) as consumers:
            await running(consumers)
            client = consumers._client
            server.pause()
        assert client is not None
        assert client.is_closed

        async def ended() -> bool:
            return asyncio.all_tasks() <= before

        await until_async(ended, "no task left")


@pytest.mark.parametrize("password", ["p@ss:w%40rd", "a=b&c;d!$^*()_+{}|~`'\"<>\\.é"])
async def test_password_is_taken_as_it_is_written(password: str) -> None:
    """It is not decoded, and may have every character but those that docs/use/events.md names."""
    with nats_server("--user", "oo", "--pass", password) as server:
        url = server.url.replace("//", f"//oo:{password}@")
        async with consuming(url, Noting(), nats_create_streams=True) as consumers:
            await running(consumers)


@pytest.mark.parametrize("scheme", ["", "nats://"])
async def test_address_with_and_without_its_scheme(nats_at: Server, js: JetStreamContext, scheme: str) -> None:
    """Both are taken."""
    url = nats_at.url.replace("nats://", scheme)
    async with consuming(url, Noting(), nats_create_streams=True) as consumers:
        await running(consumers)


async def test_server_that_comes_later_is_connected_to() -> None:
    """Any of several servers will do; until one answers the state is `connecting`, and a shutdown is quick."""
    port = free_port()
    urls = f"nats://127.0.0.1:{free_port()}, nats://127.0.0.1:{port}"
    async with asyncio.timeout(45), consuming(urls, Noting(), grace=120) as consumers:
        await reach(consumers, "tried", lambda health: health.problem is not None)
        assert signals(consumers).state == "connecting"
    async with consuming(urls, Noting(), nats_create_streams=True) as consumers:
        await reach(consumers, "tried", lambda health: health.problem is not None)
        with nats_server(port=port):
            await running(consumers)


async def test_refused_credentials_are_tried_again_quietly(caplog: pytest.LogCaptureFixture) -> None:
    """The log has one line, and the password is nowhere; with the right one the consumers run."""
    with nats_server("--user", "oo", "--pass", "right") as server, caplog.at_level(logging.INFO):
        async with consuming(server.url.replace("//", "//oo:wr0ng@"), Noting()) as consumers:
            await reach(consumers, "refused", lambda health: "Authorization" in (health.problem or ""))
            assert signals(consumers).state == "connecting"
            tried = server.log.count("authentication error")
            await until_async(lambda: _more_than(server, tried), "tried again")
        assert sum("Authorization" in record.getMessage() for record in caplog.records) == 1
        assert "wr0ng" not in caplog.text + str(consumers.health())
        url = server.url.replace("//", "//oo:right@")
        async with consuming(url, Noting(), nats_create_streams=True) as consumers:
            await running(consumers)


async def _more_than(server: Server, tried: int) -> bool:
    return server.log.count("authentication error") > tried


async def test_server_without_jetstream_is_no_trouble(caplog: pytest.LogCaptureFixture) -> None:
    """It is reported once, and the streams are waited for."""
    with nats_server(jetstream=False) as server:
        async with consuming(server.url, Noting()) as consumers:
            await reach(consumers, "found out", lambda health: health.problem == "the server has no JetStream")
            assert signals(consumers).state == "waiting for stream"
    assert sum("signals: the server has no JetStream" in record.getMessage() for record in caplog.records) == 1


async def test_jetstream_that_goes_away_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a reconnection to a server without JetStream the state is that of missing streams."""
    monkeypatch.setattr("app.events.durable.LOOK_SECONDS", 0.1)
    monkeypatch.setattr(
        "app.events.durable.API_SECONDS", 5.0
    )  # an answer that went with the server is waited for so long
    port = free_port()
    async with consuming(f"nats://127.0.0.1:{port}", Noting(), nats_create_streams=True) as consumers:
        with nats_server(port=port):
            await running(consumers)
        with nats_server(port=port, jetstream=False):
            await reach(consumers, "noticed", lambda health: health.problem == "the server has no JetStream")
            assert signals(consumers).state == "waiting for stream"


async def test_server_restarted_in_the_middle() -> None:
    """Streams and durables are found again, and what was published before and after is handled."""
    with nats_server() as server:
        noting = Noting()
        async with consuming(server.url, noting, nats_create_streams=True) as consumers:
            await running(consumers)
            async with connected(server.url) as js:
                await js.publish(SYNCED, synced("before"))
                await settled(js, "signals", 1)
            server.stop()
            await reach(consumers, "noticed", lambda health: health.state == "connecting")
            server.start()
            await running(consumers)
            async with connected(server.url) as js:
                await js.publish(SYNCED, synced("after"))
                await settled(js, "signals", 2)
        assert noting.users == ["before", "after"]


async def test_durable_deleted_in_the_middle_is_made_again(
    nats_at: Server, js: JetStreamContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its events come again from the first in the stream, which changes nothing."""
    monkeypatch.setattr("app.events.durable.LOOK_SECONDS", 0.2)
    await js.add_stream(name="S", subjects=["signals.>"])
    noting = Noting()
    async with consuming(nats_at.url, noting) as consumers:
        await js.publish(SYNCED, synced("u"))
        await settled(js, "S", 1)
        await js.delete_consumer("S", "oo-serving-signals")
        await reach(consumers, "made again", lambda health: health.processed == 2)
    assert noting.users == ["u", "u"]


async def test_connection_over_tls(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """`tls://` verifies the server; the authority is that of the system or of SSL_CERT_FILE."""
    cert, key = certificate(tmp_path)
    with nats_server("--tls", "--tlscert", str(cert), "--tlskey", str(key)) as server:
        url = server.url.replace("nats://", "tls://")
        async with consuming(url, Noting()) as consumers:
            await reach(consumers, "not trusted", lambda health: "CERTIFICATE_VERIFY" in (health.problem or ""))
        monkeypatch.setenv("SSL_CERT_FILE", str(cert))
        async with consuming(url, Noting(), nats_create_streams=True) as consumers:
            await running(consumers)


async def test_dead_letter_handed_in_again_is_as_old_as_it_was(nats_at: Server, js: JetStreamContext) -> None:
    """It keeps its time, even after it fails again; no header makes an event newer than its stream says."""
    await js.add_stream(name="S", subjects=["signals.>"])
    await js.add_stream(name="dlq", subjects=["dlq.>"])
    seen: dict[str, float] = {}
    broken = {"old"}

    class Times:
        async def synced(self, user_id: str, fields: dict[str, str], received_at: float) -> None:
            seen[user_id] = received_at
            if user_id in broken:
                raise ConflictError("not now")

    async with consuming(nats_at.url, Times(), nats_max_deliver=1) as consumers:
        await js.publish(SYNCED, synced("old"))
        for _ in range(2):
            [letter] = await dead_letters(js, 1)
            assert letter.headers is not None
            first = datetime.strptime(letter.headers["Dlq-Stored-At"], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
            assert first.timestamp() == seen["old"] == await taken_at(js, 1)
            await js.purge_stream("dlq")
            await js.publish(SYNCED, letter.data, headers={"Dlq-Stored-At": letter.headers["Dlq-Stored-At"]})
        times = ["2999-01-01T00:00:00.000000Z", "0001-01-01T00:00:00.000000Z", "yesterday", "", "2999-01-01"]
        for number, time in enumerate(times):
            await js.publish(SYNCED, synced(f"u{number}"), headers={"Dlq-Stored-At": time})
        await reach(consumers, "all handled", lambda health: health.processed == len(times))
        stored = [await taken_at(js, 4 + number) for number in range(len(times))]
    assert [seen[f"u{number}"] for number in range(len(times))] == [stored[0], 0.0, *stored[2:]]


async def taken_at(js: JetStreamContext, sequence: int) -> Any:
    """When the stream S took an event, in Unix seconds; nats-py rounds it in two ways."""
    message = await js.get_msg("S", sequence)
    assert message.time is not None
    return pytest.approx(message.time.timestamp(), abs=2e-6)


async def test_outcomes_of_decisions_are_learned_once(
    nats_at: Server, js: JetStreamContext, real_redis: RedisServer
) -> None:
    """Told twice it counts once; told before its decision it waits for it; what contradicts, and what never has a
    decision, becomes a dead letter."""
    await js.add_stream(name="feedback", subjects=["feedback.>"])
    await js.add_stream(name="dlq", subjects=["dlq.>"])
    known = catalog()

    def told(local: str, reward: float) -> bytes:
        return json.dumps({"decision_id": decision_id(local, "ann"), "reward": reward}).encode()

    async with decisions(real_redis.url) as (use_case, store):
        rules = Rules.of(store, known, 1_000)
        maker, outcomes = Maker(rules), Outcomes(rules)

        async def decide(local: str) -> None:
            asked = Asked(user_id="ann", loop="tips", context=Context(), candidates=[Candidate("a")], local=local)
            await maker.make(asked)

        await decide("one")
        async with consuming(nats_at.url, use_case, store.ping, reward=outcomes.tell) as consumers:

            def feedback() -> ConsumerHealth:
                return consumers.health().consumers["feedback"]

            async def processed(count: int) -> None:
                await until_async(lambda: async_value(feedback().processed >= count), f"{count} processed")

            for body in (told("one", 0.5), told("one", 0.5), told("late", 1.0)):
                await js.publish("feedback.decision.reward", body)
            await processed(2)
            await until_async(lambda: async_value(feedback().errors > 0), "a reward before its decision was tried")
            await decide("late")
            await processed(3)
            for body in (told("one", 1.0), told("never", 1.0)):
                await js.publish("feedback.decision.reward", body)
            letters = await dead_letters(js, 2)
        assert {(letter.headers or {})["Dlq-Reason"] for letter in letters} == {
            "malformed: another reward was told before; PUT corrects it",
            "failed 5 times, at last with NotKnown: there is no such decision",
        }
        assert (await outcomes.read(decision_id("one", "ann")))[0].reward == 0.5
        assert (await outcomes.read(decision_id("late", "ann")))[0].reward == 1.0
        model = await rules.models.read(known.policies["egreedy-v1"], "ann")
    assert (model.meta.reward_count, model.meta.cumulative_reward) == (2, 1.5)


async def async_value(value: object) -> object:
    return value
