"""The consumers as a whole: what /health tells of them, what is said of an outage, and how they stop."""

import asyncio
import logging
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import nats.errors
import pytest

from app.events.consumers import MAX_SAID, Consumers
from app.events.handlers import Uses
from app.events.pull import Pull
from app.messages.health import ConsumerHealth
from app.settings import Secret, Settings, SettingsError
from tests.support.processes import free_port
from tests.support.waiting import PATIENCE_SECONDS, until_async

pytestmark = pytest.mark.anyio


class NoTasks:
    async def synced(self, user_id: str, fields: dict[str, str], received_at: float) -> None: ...
    async def ping(self) -> None: ...
    async def reward(self, decision_id: str, reward: float, part: str | None) -> None: ...


def made(url: str = "nats://host", **settings: Any) -> Consumers:
    tasks = NoTasks()
    return Consumers(Settings(nats_url=Secret(url), **settings), Uses(tasks, tasks.reward), tasks.ping)


def signals(consumers: Consumers) -> ConsumerHealth:
    return consumers.health().consumers["signals"]


async def test_nothing_is_started_without_a_url() -> None:
    """An empty NATS_URL turns events off: nothing runs, /health says so, and there is nothing to stop."""
    consumers = made("")
    before = asyncio.all_tasks()
    consumers.start()
    assert asyncio.all_tasks() == before
    assert msgspec.to_builtins(consumers.health()) == {"enabled": False, "consumers": {}}
    await consumers.stop(0.0)


def test_bad_url() -> None:
    """An address that cannot be used is refused before anything starts."""
    with pytest.raises(SettingsError, match="NATS_URL"):
        made("http://host")


async def test_without_a_server(caplog: pytest.LogCaptureFixture) -> None:
    """It says where it looks, goes on trying, tells why, and a stop is quick and leaves no task behind."""
    caplog.set_level(logging.INFO, "oo.events")
    before = asyncio.all_tasks()
    port = free_port()
    consumers = made(f"nats://oo:s3cret@127.0.0.1:{port}")
    consumers.start()
    assert caplog.messages == [f"NATS: 127.0.0.1:{port}"]

    async def told() -> str | None:
        return signals(consumers).problem

    await until_async(told, "the server is missing")
    assert signals(consumers).state == "connecting"
    async with asyncio.timeout(PATIENCE_SECONDS):
        await consumers.stop(1_000.0)

    async def ended() -> bool:
        return asyncio.all_tasks() <= before

    await until_async(ended, "no task left")


def test_states() -> None:
    """Connecting, waiting for a stream, paused or running; the counts are those of this process."""
    consumers = made()
    assert signals(consumers).state == "connecting"
    client = SimpleNamespace(is_connected=True)
    consumers._client = cast("Any", client)
    consumer = consumers._consumers["signals"]
    consumer.problem = "no stream has signals.>"
    assert (signals(consumers).state, signals(consumers).problem) == ("waiting for stream", "no stream has signals.>")
    pull = SimpleNamespace(paused=False, pending=7, in_hand=2)
    consumer.pulls["S"] = cast("Pull", pull)
    assert signals(consumers).state == "waiting for stream"
    consumer.looked = True
    consumer.problem = None
    consumer.counts.last_at = 1_700_000_000.9
    consumer.counts.event("processed")
    assert signals(consumers) == ConsumerHealth(
        state="running",
        last_msg_ts="2023-11-14T22:13:20Z",
        processed=1,
        errors=0,
        dead_lettered=0,
        in_hand=2,
        pending=7,
        problem=None,
    )
    assert consumers.health().consumers["feedback"].state == "waiting for stream"
    pull.paused = True
    assert signals(consumers).state == "paused"
    client.is_connected = False
    assert signals(consumers).state == "connecting"


async def test_store_comes_first_among_the_problems() -> None:
    """While the store is away, that is what both consumers tell."""
    consumers = made()
    consumers._client = cast("Any", SimpleNamespace(is_connected=True))
    consumers._consumers["signals"].problem = "no stream has signals.>"
    consumers._gate.shut("away")
    assert {one.problem for one in consumers.health().consumers.values()} == {"store unavailable: away"}
    consumers._gate.close()


def test_outage_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """Each problem once, and not without end; /health has the last."""
    consumers = made()
    for number in range(MAX_SAID + 5):
        for _ in range(3):
            consumers._trouble(OSError(f"away {number}"))
    assert [record.getMessage() for record in caplog.records] == [f"NATS: OSError: away {n}" for n in range(MAX_SAID)]
    assert signals(consumers).problem == f"OSError: away {MAX_SAID + 4}"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nats://oo:s3cret@host", "refused s3cret"),
        ("nats://oo:s3%40cret@host", "refused s3@cret"),
        ("nats://t0ken@host", "refused t0ken"),
        ("oo:s3cret@host", "cannot parse oo:s3cret@host"),
    ],
)
def test_no_credentials_are_told(url: str, words: str, caplog: pytest.LogCaptureFixture) -> None:
    """An error that repeats the password or token is told by its type alone."""
    consumers = made(url)
    consumers._trouble(nats.errors.Error(words))
    assert signals(consumers).problem == "Error"
    assert caplog.messages == ["NATS: Error"]
    consumers._trouble(OSError("harmless"))
    assert signals(consumers).problem == "OSError: harmless"


async def test_errors_while_stopping_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A connection that ends with the service is not an outage."""
    caplog.set_level(logging.INFO)
    consumers = made()
    consumers._deadline = 0.0
    consumers._trouble(OSError("closed"))
    assert caplog.messages == []


async def test_watch_raises_for_a_client_that_reads_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """nats-py still says that it is connected."""
    monkeypatch.setattr("app.events.consumers.WATCH_SECONDS", 0.0)
    client = SimpleNamespace(is_connected=True, is_closed=False, reads=True)
    watch = asyncio.create_task(made()._watch(cast("Any", client), asyncio.Event()))
    await asyncio.sleep(0.01)
    assert not watch.done()
    client.reads = False
    with pytest.raises(nats.errors.Error, match="connected, but the client has stopped reading"):
        await asyncio.wait_for(watch, PATIENCE_SECONDS)


@pytest.mark.parametrize(("is_closed", "give_up"), [(True, 1_000.0), (False, 0.0)])
async def test_watch_raises_for_a_lost_connection(
    is_closed: bool, give_up: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When nats-py has given up, or has reconnected in vain for too long."""
    monkeypatch.setattr("app.events.consumers.WATCH_SECONDS", 0.0)
    monkeypatch.setattr("app.events.consumers.GIVE_UP_SECONDS", give_up)
    client = SimpleNamespace(is_connected=False, is_closed=is_closed, reads=False)
    with pytest.raises(nats.errors.ConnectionClosedError):
        await asyncio.wait_for(made()._watch(cast("Any", client), asyncio.Event()), PATIENCE_SECONDS)
