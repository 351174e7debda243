"""Publishing over the embedded store: what is safe leaves Redis, what is not stays, and what others left is found."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from redis.exceptions import ResponseError

from app.decision_log import publish
from app.decision_log.place import PlaceError
from app.decision_log.publish import Progress, Publisher
from state.errors import StoreUnavailable
from state.redis.failure import Outage
from state.slots.outbox import Outbox
from state.update.operation import Emitted
from tests.support.waiting import until_async
from tests.unit.state.wire import CUT, Wire

pytestmark = pytest.mark.anyio

BACKLOG = 10**9


class Place:
    """Keeps lines, unless it is away."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.writes: list[int] = []
        self.away = ""
        self.closed = False

    async def write(self, lines: Sequence[tuple[str, bytes]]) -> None:
        if self.away:
            raise PlaceError(self.away)
        self.lines += [line for _, line in lines]
        self.writes.append(len(lines))

    async def close(self) -> None:
        self.closed = True


class Noted:
    def __init__(self) -> None:
        self.done = self.lost = 0
        self.levels: list[tuple[int, int]] = []

    def published(self, lines: int) -> None:
        self.done += lines

    def lines_lost(self, lines: int) -> None:
        self.lost += lines

    def backlog(self, used: int, most: int) -> None:
        self.levels.append((used, most))


class Scene:
    def __init__(self, backlog: int = BACKLOG) -> None:
        self.wire, self.place, self.noted = Wire(), Place(), Noted()
        self.outbox = Outbox(self.wire, timeout=1.0, outage=Outage())
        self.publisher = Publisher(self.outbox, self.place, backlog, self.noted)

    async def wrote(self, *lines: bytes) -> list[Emitted]:
        """Lines that a transaction has written."""
        key = self.outbox.key("ann")
        names = [(await self.wire.ask(("XADD", key, "*", "g", "tips", "l", line)))[0] for line in lines]
        return [Emitted(key, name, "tips", line) for name, line in zip(names, lines, strict=True)]

    async def waiting(self) -> int:
        return sum(size.lines for size in (await self.outbox.size()).values())

    async def is_empty(self) -> bool:
        return await self.waiting() == 0


@pytest.fixture
async def running(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    """A publisher at work, that does not pause after failures."""
    monkeypatch.setattr(publish, "_PAUSE", 0.0)
    monkeypatch.setattr(publish, "_LONGEST_PAUSE", 0.0)
    scene = Scene()
    task = asyncio.create_task(scene.publisher.run())
    yield scene
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_own_lines(running: Scene) -> None:
    """In their order, some together; what is safe leaves Redis."""
    running.publisher.take(await running.wrote(b"one", b"two", b"three"))
    await until_async(running.is_empty, "all is published")
    assert (running.place.lines, running.place.writes, running.noted.done) == ([b"one", b"two", b"three"], [3], 3)


async def test_lines_gather(running: Scene) -> None:
    """Those of transactions that come one after another go together."""
    for line in (b"one", b"two", b"three"):
        running.publisher.take(await running.wrote(line))
        await asyncio.sleep(0.01)
    await until_async(running.is_empty, "all is published")
    assert (running.place.lines, running.place.writes) == ([b"one", b"two", b"three"], [3])
    running.publisher.take(await running.wrote(b"four"))
    await until_async(running.is_empty, "what comes later is published")
    assert running.place.writes == [3, 1]


async def test_enough_lines_for_a_write_do_not_gather(running: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor those that are enough by their bytes; what is left after a write does."""
    monkeypatch.setattr(publish, "_LINES", 3)
    monkeypatch.setattr(publish, "_BYTES", 100)
    write = running.place.write

    async def first(lines: Sequence[tuple[str, bytes]]) -> None:
        monkeypatch.setattr(publish, "_GATHER", 3_600.0)
        await write(lines)

    monkeypatch.setattr(running.place, "write", first)
    running.publisher.take(await running.wrote(*[b"short"] * 6, b"x" * 100, b"last"))

    async def one_is_left() -> bool:
        return await running.waiting() == 1

    await until_async(one_is_left, "what is enough is published")
    assert running.place.writes == [3, 3, 1]


async def test_a_place_that_is_away(running: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """Lines wait in Redis, which is told of and logged once; then all are published."""
    caplog.set_level("WARNING", "oo.log")
    running.place.away = "the disk is full"
    running.publisher.take(await running.wrote(b"one", b"two"))

    async def failed() -> bool:
        return running.publisher.progress.problem == "the disk is full"

    await until_async(failed, "the failure is told of")
    assert await running.waiting() == 2
    running.place.away = ""
    await until_async(running.is_empty, "all is published")
    assert running.place.lines == [b"one", b"two"]
    assert running.publisher.progress.problem is None
    assert caplog.messages == [
        "the log of decisions waits in Redis: the disk is full",
        "the log of decisions is published again",
    ]


async def test_redis_fails_after_a_write() -> None:
    """What was published and not removed is published again: readers take a line once."""
    scene = Scene()
    scene.publisher.take(await scene.wrote(b"one"))
    scene.wire.on("XDEL", CUT)
    await scene.publisher._write_next()
    assert await scene.waiting() == 1
    await scene.publisher.look(old_ms=-1_000)
    assert (scene.place.lines, await scene.waiting()) == ([b"one", b"one"], 0)


async def test_redis_refuses_to_remove() -> None:
    """A master without its replica can be read and not written to: looks do not publish the same lines again and again
    meanwhile."""
    scene = Scene()
    await scene.wrote(b"one")
    scene.wire.on("XDEL", *[ResponseError("NOREPLICAS Not enough good replicas to write.")] * 2)
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await scene.publisher.look(old_ms=-1_000)
    assert (scene.place.lines, await scene.waiting()) == ([], 1)
    await scene.publisher.look(old_ms=-1_000)
    assert (scene.place.lines, await scene.waiting()) == ([b"one"], 0)


async def test_what_others_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines that wait for long are published by whoever looks, however many they are; younger ones are left alone."""
    monkeypatch.setattr("state.slots.outbox._OF_EACH", 4)
    scene = Scene()
    await scene.wrote(*(b"%d" % number for number in range(11)))
    await scene.publisher.look(old_ms=60_000)
    assert scene.place.lines == []
    assert scene.publisher.progress.waiting == 11
    await scene.publisher.look(old_ms=-1_000)
    assert scene.place.lines == [b"%d" % number for number in range(11)]
    assert scene.publisher.progress == Progress(None, 0, 0.0)


async def test_too_many() -> None:
    """Beyond the limit the oldest go, and are counted."""
    scene = Scene(backlog=20_000)
    await scene.wrote(*(b"%d" % number for number in range(50)))
    scene.place.away = "away"
    with pytest.raises(PlaceError):
        await scene.publisher.look(old_ms=-1_000)
    kept = int(20_000 / (1_500 + 120))
    assert (scene.noted.lost, await scene.waiting()) == (50 - kept, kept)
    assert scene.noted.levels[0] == ((50 * 1_620), 20_000)
    scene.place.away = ""
    await scene.publisher.look(old_ms=-1_000)
    assert scene.place.lines[-1] == b"49"


async def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process cannot remember waits in Redis until it is looked for; one write is bounded, too."""
    monkeypatch.setattr(publish, "_REMEMBERED_BYTES", 5)
    monkeypatch.setattr(publish, "_BYTES", 2)
    scene = Scene()
    scene.publisher.take(await scene.wrote(b"abc", b"def", b"gh"))
    await scene.publisher.stop(9.0)
    assert (scene.place.lines, scene.place.writes, scene.place.closed) == ([b"abc", b"gh"], [1, 1], True)
    assert await scene.waiting() == 1


async def test_a_line_that_is_not_remembered(running: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is too large waits; those after it are published."""
    monkeypatch.setattr(publish, "_REMEMBERED_BYTES", 5)
    monkeypatch.setattr(publish, "_GATHER", 0.0)
    running.publisher.take(await running.wrote(b"too large"))
    await asyncio.sleep(0.01)
    running.publisher.take(await running.wrote(b"small"))

    async def one_is_left() -> bool:
        return await running.waiting() == 1

    await until_async(one_is_left, "the small one is published")
    assert running.place.lines == [b"small"]


async def test_a_stop_while_the_place_is_away(caplog: pytest.LogCaptureFixture) -> None:
    """What cannot be published stays in Redis."""
    caplog.set_level("WARNING", "oo.log")
    scene = Scene()
    scene.place.away = "away"
    scene.publisher.take(await scene.wrote(b"one", b"two"))
    await scene.publisher.stop(9.0)
    assert (scene.place.closed, await scene.waiting()) == (True, 2)
    assert "2 lines of the log stay in Redis, from where another replica publishes them" in caplog.text
