"""What newer nats-servers do besides: pause a durable, say more when they end a request; and JetStream in a domain.

On both servers there are: that of the system, and the newer one among the Python packages.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from nats.aio.msg import Msg
from nats.js import JetStreamContext

from app.events.consumers import Consumers
from tests.service.test_consumer import (
    SYNCED,
    Noting,
    connected,
    consuming,
    dead_letters,
    patient,
    raw_publish,
    reach,
    running,
    settled,
    signals,
    synced,
)
from tests.support.nats_servers import nats_server, newer_nats
from tests.support.processes import HOST, Server, free_port, program

pytestmark = pytest.mark.anyio

__all__ = ["patient"]  # a fixture for this file as well


@pytest.fixture(scope="module", params=["system", "newer"])
def binary(request: pytest.FixtureRequest) -> str:
    return program("nats-server") if request.param == "system" else newer_nats()


@pytest.fixture(scope="module")
def nats_at(binary: str) -> Iterator[Server]:
    with nats_server(binary=binary) as server:
        yield server


@asynccontextmanager
async def work_on(url: str) -> AsyncIterator[JetStreamContext]:
    """A connection of the test's own, with the streams there are and no events in them."""
    async with connected(url) as js:
        for stream in await js.streams_info():
            assert stream.config.name
            await js.delete_stream(stream.config.name)
        await js.add_stream(name="work", subjects=["signals.>", "feedback.>"])
        await js.add_stream(name="dlq", subjects=["dlq.>"])
        yield js


def refusals(consumers: Consumers) -> list[str]:
    return [words for pull in consumers._consumers["signals"].pulls.values() for words in pull.problems]


async def test_events_are_handled_and_dead_lettered(nats_at: Server) -> None:
    """The plain way of an event, on each server."""
    noting = Noting()
    async with work_on(nats_at.url) as js, consuming(nats_at.url, noting) as consumers:
        await running(consumers)
        assert signals(consumers).problem is None
        await js.publish(SYNCED, synced("ann"))
        await js.publish(SYNCED, b"malformed")
        await settled(js, "work", 2)
        [letter] = await dead_letters(js, 1)
        assert letter.data == b"malformed"
    assert noting.users == ["ann"]


async def test_a_deleted_durable_is_made_again(nats_at: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server ends the open request with a reason, and events go on."""
    monkeypatch.setattr("app.events.durable.LOOK_SECONDS", 0.2)
    noting = Noting()
    async with work_on(nats_at.url) as js, consuming(nats_at.url, noting) as consumers:
        await running(consumers)
        await js.delete_consumer("work", "oo-serving-signals")
        await js.publish(SYNCED, synced("ann"))
        await reach(consumers, "made again", lambda health: health.processed == 1)
    assert noting.users == ["ann"]


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        (b"NATS/1.0 409 Consumer Deleted\r\nNats-Pending-Messages: 256\r\n\r\n", "Consumer Deleted"),
        (b"NATS/1.0 409 Consumer Deleted\nNats-Pending-Messages: 256\r\n\r\n", "Consumer Deleted"),
        (b"NATS/1.0 409\r\nNats-Pending-Messages: 256\r\n\r\n", "status 409"),
        (b"NATS/1.0 409 \r\nNats-Pending-Messages: 256\r\n\r\n", "status 409"),
        (b"NATS/1.0 409\r\n\r\n", "status 409"),
    ],
)
async def test_a_reason_is_one_line(nats_at: Server, headers: bytes, words: str) -> None:
    """Why a request was ended is told without the headers that came with it, and also where no words came."""
    async with work_on(nats_at.url) as js, consuming(nats_at.url, Noting()) as consumers:
        await running(consumers)
        asked: asyncio.Queue[str] = asyncio.Queue()
        client = js._nc

        async def noted(msg: Msg) -> None:
            asked.put_nowait(msg.reply)

        await client.subscribe("$JS.API.CONSUMER.MSG.NEXT.work.oo-serving-signals", cb=noted)
        await client.flush()
        for pull in consumers._consumers["signals"].pulls.values():
            pull.ask_again()
        await raw_publish(nats_at, await asked.get(), headers, b"", 1)
        await reach(consumers, "told", lambda _: refusals(consumers))
        assert refusals(consumers) == [f"nothing is delivered: {words}"]


async def test_a_paused_durable_is_shown_as_paused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The state and the problem say that an operator paused the durable, until it goes on."""
    monkeypatch.setattr("app.events.durable.LOOK_SECONDS", 0.1)
    noting = Noting()
    with nats_server(binary=newer_nats()) as server:
        async with work_on(server.url) as js, consuming(server.url, noting) as consumers:
            await running(consumers)
            await pause(js, "2100-01-01T00:00:00Z")
            await js.publish(SYNCED, synced("ann"))
            await reach(consumers, "paused", lambda health: health.state == "paused" and health.pending == 1)
            assert signals(consumers).problem == (
                "durable oo-serving-signals on stream work is paused until 2100-01-01T00:00:00Z"
            )
            assert consumers.health().consumers["feedback"].state == "running"
            await pause(js, "0001-01-01T00:00:00Z")
            await reach(consumers, "going on", lambda health: health.state == "running" and health.processed == 1)
            assert signals(consumers).problem is None
    assert noting.users == ["ann"]


async def pause(js: JetStreamContext, until: str) -> None:
    """Pause the durable as `nats consumer pause` does; a time that is over lets it go on."""
    body = json.dumps({"pause_until": until}).encode()
    reply = await js._nc.request("$JS.API.CONSUMER.PAUSE.work.oo-serving-signals", body, timeout=30)
    assert "error" not in json.loads(reply.data)


async def test_jetstream_in_a_domain_behind_a_leaf_node(binary: str, tmp_path: Path) -> None:
    """The service on a leaf node without JetStream uses the hub's, once it is told the domain; without, it says so."""
    leaves = free_port()
    hub_file, leaf_file = tmp_path / "hub.conf", tmp_path / "leaf.conf"
    hub_file.write_text(
        f"jetstream {{domain: hub, store_dir: \"{tmp_path / 'store'}\"}}\nleafnodes {{listen: '{HOST}:{leaves}'}}\n"
    )
    leaf_file.write_text(f"leafnodes {{remotes: [{{url: 'nats://{HOST}:{leaves}'}}]}}\n")
    noting = Noting()
    with (
        nats_server("-c", hub_file, jetstream=False, binary=binary) as hub,
        nats_server("-c", leaf_file, jetstream=False, binary=binary) as leaf,
    ):
        async with work_on(hub.url) as js:
            async with consuming(leaf.url, Noting()) as consumers:
                await reach(consumers, "told", lambda health: health.problem == "the server has no JetStream")
            async with consuming(leaf.url, Noting(), nats_jetstream_domain="moon") as consumers:
                words = "no JetStream answers for the domain moon"
                await reach(consumers, "told", lambda health: health.problem == words)
            async with consuming(leaf.url, noting, nats_jetstream_domain="hub") as consumers:
                await running(consumers)
                assert signals(consumers).problem is None
                await js.publish(SYNCED, synced("ann"))
                await js.publish(SYNCED, b"malformed")
                await settled(js, "work", 2)
                [letter] = await dead_letters(js, 1)
                assert letter.data == b"malformed"
    assert noting.users == ["ann"]


async def test_streams_are_made_in_a_domain(tmp_path: Path) -> None:
    """NATS_CREATE_STREAMS goes to the domain too."""
    config = tmp_path / "nats.conf"
    config.write_text(f'jetstream {{domain: hub, store_dir: "{tmp_path / "store"}"}}\n')
    with nats_server("-c", config, jetstream=False) as server:
        async with consuming(server.url, Noting(), nats_jetstream_domain="hub", nats_create_streams=True) as consumers:
            await running(consumers)
        async with connected(server.url) as js:
            assert {info.config.name for info in await js.streams_info()} == {"signals", "feedback", "dlq"}
