"""The commands `events …` on a real NATS: what there is, and dead letters that are replayed once and no more."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import nats
import nats.errors
import pytest
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from app.commands.cli import run
from app.events.dead_letters import letter_at, replay
from tests.support.nats_servers import nats_server
from tests.support.processes import Server
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.anyio

SYNCED = "signals.task.synced"
FAILED = {
    "Dlq-Reason": "failed 5 times",
    "Dlq-Stored-At": "2026-11-23T13:07:40.000000Z",
    "Nats-Msg-Id": "dlq.signals.1",
}
Operate = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture(scope="module")
def nats_at() -> Iterator[Server]:
    with nats_server() as server:
        yield server


@pytest.fixture
async def js(nats_at: Server) -> AsyncIterator[JetStreamContext]:
    """A connection of the test's own, to a server with the three streams, which are empty."""
    client = await nats.connect(nats_at.url)
    jetstream = client.jetstream(timeout=PATIENCE_SECONDS)
    for stream in await jetstream.streams_info():
        await jetstream.delete_stream(stream.config.name or "")
    for name in ("signals", "feedback", "dlq"):
        await jetstream.add_stream(name=name, subjects=[f"{name}.>"])
    yield jetstream
    await client.close()


@pytest.fixture
def operate(nats_at: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Operate:
    """Does what a command line says; its exit code, stdout, and stderr after the name of the server."""

    async def operate(*words: str) -> tuple[int, str, str]:
        monkeypatch.setenv("NATS_URL", nats_at.url.replace("nats://", "nats://bob:hidden@"))
        code = await asyncio.to_thread(run, ["events", *words])
        out, err = capsys.readouterr()
        first, _, rest = err.partition("\n")
        assert first == f"NATS: 127.0.0.1:{nats_at.port}"
        return code, out, rest

    return operate


async def bury(js: JetStreamContext, subject: str, body: bytes, **headers: str) -> None:
    """Publish a dead letter as the service does."""
    own = {name.replace("_", "-"): value for name, value in headers.items()}
    number = (await js.stream_info("dlq")).state.last_seq
    await js.publish(f"dlq.{subject}", body, headers=FAILED | {"Nats-Msg-Id": f"dlq.signals.{number}"} | own)


async def held(js: JetStreamContext, stream: str) -> list[tuple[int, bytes | None, dict[str, str]]]:
    """What a stream holds: number, body and headers of each."""
    found = []
    for number in range(1, (await js.stream_info(stream)).state.last_seq + 1):
        try:
            msg = await js.get_msg(stream, number)
        except NotFoundError:
            continue
        found.append((number, msg.data, dict(msg.headers or {})))
    return found


async def test_what_failed_is_replayed_once(js: JetStreamContext, operate: Operate) -> None:
    """With its own headers and the time of its first arrival. Malformed and cut ones stay, named with the reason, and
    say so by the exit code; a second replay finds nothing to do."""
    await bury(js, SYNCED, b'{"user_id": "ann"}', Own="kept", Original_Status="503")
    await bury(js, SYNCED, b"nonsense", Dlq_Reason="malformed: not JSON")
    await bury(js, SYNCED, b'{"user', Dlq_Cut="the body had 9 bytes")
    await bury(js, "feedback.decision.reward", b"{}")
    left = (
        f"left: dlq 2  {SYNCED}  malformed: not JSON (it would become a dead letter again)\n"
        f"left: dlq 3  {SYNCED}  failed 5 times (it is cut, since it was too large)\n"
    )
    code, out, err = await operate("replay", "--dry-run")
    assert (code, out.splitlines()[-1], err) == (1, "would be replayed: 2; left: 2", left)
    assert (await js.stream_info("signals")).state.messages == 0
    code, out, err = await operate("replay")
    assert (code, err) == (1, left)
    assert out == (
        f"replayed: dlq 1  {SYNCED}  failed 5 times\n"
        "replayed: dlq 4  feedback.decision.reward  failed 5 times\n"
        "replayed: 2; left: 2\n"
    )
    [(_, body, headers)] = await held(js, "signals")
    del headers["Nats-Msg-Id"]
    assert (body, headers) == (b'{"user_id": "ann"}', {"Own": "kept", "Dlq-Stored-At": FAILED["Dlq-Stored-At"]})
    assert [number for number, *_ in await held(js, "dlq")] == [2, 3]
    assert await operate("replay") == (1, "replayed: 0; left: 2\n", left)
    assert len(await held(js, "signals") + await held(js, "feedback")) == 2


async def test_a_replay_that_ended_midway(
    js: JetStreamContext, operate: Operate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the event and before the removal: it is not published a second time."""
    await bury(js, SYNCED, b'{"user_id": "ann"}')

    async def ends(*_: object) -> bool:
        raise nats.errors.ConnectionClosedError

    letter = await letter_at(js, "dlq", 1)
    assert letter is not None
    with monkeypatch.context() as broken:
        broken.setattr(js, "delete_msg", ends)
        with pytest.raises(nats.errors.ConnectionClosedError):
            await replay(js, letter)
    assert (await operate("replay"))[:2] == (0, f"replayed: dlq 1  {SYNCED}  failed 5 times\nreplayed: 1; left: 0\n")
    assert len(await held(js, "signals")) == 1
    assert await held(js, "dlq") == []


async def test_a_replay_is_bounded(js: JetStreamContext, operate: Operate) -> None:
    """By a number, a subject, and what is there when it begins."""
    for number in range(4):
        await bury(js, SYNCED if number % 2 else "feedback.x", b"%d" % number)
    code, out, err = await operate("replay", "--subject", SYNCED, "--limit", "1")
    assert (code, out) == (1, f"replayed: dlq 2  {SYNCED}  failed 5 times\nreplayed: 1; left: 0\n")
    assert err == "there are more than 1: --limit takes another number\n"
    assert (await operate("replay", "--limit", "3"))[0] == 0
    assert [body for _, body, _ in await held(js, "signals") + await held(js, "feedback")] == [b"1", b"3", b"0", b"2"]


async def test_where_nothing_takes_the_event(js: JetStreamContext, operate: Operate) -> None:
    """It stays a dead letter."""
    await bury(js, SYNCED, b"{}")
    await js.delete_stream("signals")
    code, out, err = await operate("replay")
    assert (code, out) == (1, "replayed: 0; left: 0\n")
    assert "no response from stream" in err
    assert len(await held(js, "dlq")) == 1


async def test_letters_are_listed_and_discarded(js: JetStreamContext, operate: Operate) -> None:
    """By their numbers. One that is not there is named; what is no dead letter is never removed."""
    await js.update_stream(name="dlq", subjects=["dlq.>", "other"])
    await js.publish("other", b"")
    await bury(js, SYNCED, b"a", Dlq_Reason="malformed: not JSON\x1b[2J")
    await bury(js, SYNCED, b"b")
    rows = [f"dlq 2  {SYNCED}  malformed: not JSON\\x1b[2J\n", f"dlq 3  {SYNCED}  failed 5 times\n"]
    assert await operate("letters") == (0, f"{''.join(rows)}dead letters: 2\n", "")
    assert (await operate("letters", "--limit", "1"))[:2] == (1, rows[0])
    code, out, err = await operate("discard", "2", "1", "9", "2")
    assert (code, out) == (1, f"removed: {rows[0]}")
    assert err == "dlq 1: there is no such dead letter\ndlq 9: there is no such dead letter\n"
    assert [number for number, *_ in await held(js, "dlq")] == [1, 3]


async def test_status(js: JetStreamContext, operate: Operate) -> None:
    """Streams, durables, and how much waits; what is missing makes it a failure."""
    await js.pull_subscribe("signals.>", durable="oo-serving-signals", stream="signals")
    await js.publish(SYNCED, b"{}")
    await bury(js, SYNCED, b"a")
    code, out, _ = await operate("status")
    assert (code, out.splitlines()) == (
        1,
        [
            "stream signals, durable oo-serving-signals: 1 wait, 0 in hand, 0 failed before",
            "stream feedback has feedback.>, but no durable oo-serving-feedback: no service has taken events of it",
            "stream dlq: 1 dead letters",
        ],
    )
    await js.pull_subscribe("feedback.>", durable="oo-serving-feedback", stream="feedback")
    assert (await operate("status"))[0] == 0
    for stream in ("feedback", "dlq"):
        await js.delete_stream(stream)
    code, out, _ = await operate("status")
    assert (code, out.splitlines()[1:]) == (1, ["no stream has feedback.>", "no stream has dlq.>"])
    for words in (["letters"], ["replay"], ["replay", "--dry-run"], ["discard", "1"]):
        assert await operate(*words) == (1, "", "no stream has dlq.>\n"), "that is not the same as no dead letters"
