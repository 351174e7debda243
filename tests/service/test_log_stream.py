"""The log in JetStream, against a real nats-server: acknowledged lines are in it, and a refusal names its reason."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import nats
import pytest
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, StreamConfig

from app.decision_log.jetstream import NAME, Stream, loop_of
from app.decision_log.lines import LONGEST, Line, decode, encode
from app.decision_log.place import PlaceError
from app.log_reading.pull import pull
from app.log_reading.reading import read
from tests.support.nats_servers import nats_server
from tests.support.processes import Server
from tests.support.waiting import PATIENCE_SECONDS
from tests.unit.app.decision_log.samples import decision, outcome, state

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def nats_at() -> Iterator[Server]:
    with nats_server() as server:
        yield server


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[JetStreamContext]:
    client = await nats.connect(url)
    try:
        yield client.jetstream(timeout=PATIENCE_SECONDS)
    finally:
        await client.close()


@pytest.fixture
async def js(nats_at: Server) -> AsyncIterator[JetStreamContext]:
    """A server without streams."""
    async with connected(nats_at.url) as jetstream:
        for stream in await jetstream.streams_info():
            await jetstream.delete_stream(stream.config.name or "")
        yield jetstream


async def texts(stream: Stream, after: int = 0) -> list[bytes]:
    return [text for message in [each async for each in stream.read(after)] for text in message.lines]


async def test_it_keeps_lines(js: JetStreamContext) -> None:
    """All of them, in the order of each loop; reading goes on behind a number, and stops at the end."""
    stream = Stream(js, age=86_400)
    await stream.open()
    lines: list[Line] = [decision(1, loop="a"), decision(2, loop="b"), outcome(3, loop="a"), state(4)]
    await stream.write([(loop_of(line), encode(line)) for line in lines])
    found = [decode(text) for text in await texts(stream)]
    assert sorted(found, key=lambda line: line.seq) == lines
    assert [line.seq for line in found if loop_of(line) == "a"] == [1, 3]
    before = (await js.stream_info(NAME)).state.last_seq
    await stream.write([("a", b"%d" % number) for number in range(1_500)])
    assert await texts(stream, before) == [b"%d" % number for number in range(1_500)]
    assert (await js.stream_info(NAME)).state.last_seq == before + 24
    await stream.write([])


async def test_the_stream(js: JetStreamContext) -> None:
    """It drops by age alone, subjects tell loops only, and one that is there already stays as it is."""
    await Stream(js, age=86_400).open()
    await Stream(js, age=7).open()
    config = (await js.stream_info(NAME)).config
    assert (config.max_age, config.discard, config.num_replicas) == (86_400, DiscardPolicy.NEW, 1)
    await Stream(js).write([("tips", b"x" * LONGEST)])
    await js.delete_msg(NAME, 1)
    assert await Stream(js).first() == 2
    assert await texts(Stream(js)) == []


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (StreamConfig(name=NAME, subjects=["other"]), "lacks the subjects decisions"),
        (StreamConfig(name=NAME, subjects=["decisions.>"], discard=DiscardPolicy.OLD), "would drop lines"),
    ],
)
async def test_a_stream_that_will_not_do(js: JetStreamContext, config: StreamConfig, why: str) -> None:
    """It is not changed, and the error says what it lacks."""
    await js.add_stream(config)
    with pytest.raises(PlaceError, match=why):
        await Stream(js).open()


async def test_a_full_stream(js: JetStreamContext) -> None:
    """It refuses, and keeps what it has."""
    await js.add_stream(StreamConfig(name=NAME, subjects=["decisions.>"], discard=DiscardPolicy.NEW, max_msgs=2))
    stream = Stream(js)
    await stream.open()
    await stream.write([("a", b"1")])
    with pytest.raises(PlaceError, match=r"the stream decisions: maximum messages exceeded"):
        await stream.write([("a", b"2"), ("b", b"3")])
    assert len(await texts(stream)) == 2


async def test_no_stream(js: JetStreamContext) -> None:
    """Nothing is acknowledged, and reading is no empty log."""
    with pytest.raises(PlaceError, match="no JetStream answers"):
        await Stream(js).write([("a", b"1")])
    for reading in (texts(Stream(js)), Stream(js).first()):
        with pytest.raises(PlaceError, match="stream not found"):
            await reading


async def test_no_server(nats_at: Server) -> None:
    """A server without JetStream, and one that is away."""
    with nats_server(jetstream=False) as server:
        async with connected(server.url) as jetstream:
            with pytest.raises(PlaceError, match="no JetStream answers"):
                await Stream(jetstream).open()
    async with connected(nats_at.url) as jetstream:
        await jetstream._nc.close()
        with pytest.raises(PlaceError, match=r"the stream decisions: .*onnection closed"):
            await Stream(jetstream).write([("a", b"1")])


def refuse(problem: str) -> None:
    raise AssertionError(problem)


async def test_pull(js: JetStreamContext, tmp_path: Path) -> None:
    """The stream becomes files of lines; the next time only what is new, and what was dropped meanwhile is told."""
    stream = Stream(js)
    await stream.open()
    lines: list[Line] = [decision(seq) for seq in range(1, 200)]
    await stream.write([(loop_of(line), encode(line)) for line in lines[:150]])
    seen: list[int] = []
    assert await pull(stream, tmp_path, seen.append) == (150, 0)
    assert sum(seen) == 150
    assert await pull(stream, tmp_path, seen.append) == (0, 0)
    await stream.write([(loop_of(line), encode(line)) for line in lines[150:]])
    assert await pull(stream, tmp_path, seen.append) == (49, 0)
    assert list(read(tmp_path, refuse)) == lines
    for _ in range(2):
        await stream.write([("tips", b"{}")])
    await js.purge_stream(NAME, keep=1)
    assert await pull(stream, tmp_path, seen.append) == (1, 1)
