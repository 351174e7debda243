"""Commands that may be tried again, and the replacement of one field that another writer may change first."""

from collections.abc import Awaitable, Callable

import pytest
from redis.exceptions import NoPermissionError

from state import keys, parts
from state.asking import Asker, decisions
from state.errors import CorruptState, StoreUnavailable
from state.redis.failure import Outage
from tests.unit.state.wire import CUT, LOSE, Wire

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("state.redis.failure._jitter.uniform", lambda *_: 0.0)


def asker(wire: Wire) -> Asker:
    return Asker(wire, timeout=100.0, outage=Outage())


def one_more(old: bytes | None) -> bytes:
    return b"%d" % (int(old or 0) + 1)


def another(wire: Wire, number: int) -> Callable[[], Awaitable[object]]:
    """What another client does."""
    return lambda: wire.ask(("HSET", "k", "f", str(number)))


async def test_a_command_is_tried_again() -> None:
    """Until there is a reply; a refusal and a key of another type are told."""
    wire = Wire()
    wire.on("HGET", CUT, LOSE)
    assert await asker(wire).ask("k", ("HGET", "k", "f")) is None
    assert wire.sent == [["HGET"]] * 3
    await wire.ask(("SET", "text", "x"))
    with pytest.raises(CorruptState, match="text: holds a value of another type"):
        await asker(wire).ask("text", ("HGET", "text", "f"))
    wire.on("HGET", *[NoPermissionError("no")] * 3)
    with pytest.raises(StoreUnavailable, match="Redis refuses: NoPermissionError"):
        await asker(wire).ask("k", ("HGET", "k", "f"))


async def test_the_probe_writes_nothing() -> None:
    """It asks as a write does, of a key that is not there. Of a cluster any master is asked whether it answers."""
    wire = Wire()
    await asker(wire).probe()
    assert await wire.ask(("DBSIZE",)) == [0]
    wire.spans_users = False
    await asker(wire).probe()
    assert wire.sent == [["SET"], ["PING"]]


async def test_replace() -> None:
    """The new value is made of the old one, or nothing is written."""
    wire = Wire()
    await asker(wire).replace("k", "f", one_more)
    await asker(wire).replace("k", "f", one_more)
    assert await wire.ask(("HGETALL", "k")) == [[b"f", b"2"]]
    assert wire.sent == [["WATCH", "HMGET", "TIME"], ["MULTI", "HSET", "EXEC"]] * 2
    await asker(wire).replace("k", "f", lambda _: None)
    assert await wire.ask(("HGETALL", "k")) == [[b"f", b"2"]]
    # Nothing is watched any longer.
    wire.on("WATCH", another(wire, 7))
    await asker(wire).replace("k", "f", one_more)
    assert await wire.ask(("HGET", "k", "f")) == [b"8"]


async def test_another_writer_comes_first() -> None:
    """What that one wrote is built on, as often as it happens."""
    wire = Wire()
    wire.on("MULTI", another(wire, 5), another(wire, 6))
    await asker(wire).replace("k", "f", one_more)
    assert await wire.ask(("HGET", "k", "f")) == [b"7"]


async def test_a_reply_is_lost() -> None:
    """It is done again on what is there then: whatever was written, the last value is the highest."""
    wire = Wire()
    wire.on("MULTI", CUT)
    await asker(wire).replace("k", "f", one_more)
    assert await wire.ask(("HGET", "k", "f")) == [b"1"]
    wire.on("MULTI", LOSE)
    await asker(wire).replace("k", "f", one_more)
    assert await wire.ask(("HGET", "k", "f")) == [b"3"]


async def test_a_key_that_cannot_be_replaced() -> None:
    """Of another type, or not allowed."""
    wire = Wire()
    await wire.ask(("SET", "text", "x"))
    with pytest.raises(CorruptState, match="text: holds a value of another type"):
        await asker(wire).replace("text", "f", one_more)
    wire.on("HSET", *[NoPermissionError("no")] * 3)
    with pytest.raises(StoreUnavailable, match="Redis refuses"):
        await asker(wire).replace("k", "f", one_more)


async def test_replicas_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a change, or when it is found to be made, but not for a race that was lost; too few are an error that says
    that it is written."""
    wire, asked, enough = Wire(), list[object](), True

    async def answered(_: object, commands: list[tuple[object, ...]]) -> list[object]:
        asked.append(commands[0][1])
        return [b"OK", int(enough)]

    monkeypatch.setattr("state.redis.replicas.exchange", answered)
    waits = Asker(wire, timeout=100.0, outage=Outage(), wait_replicas=1)
    wire.on("MULTI", another(wire, 5))
    await waits.replace("k", "f", one_more)
    await waits.replace("k", "f", lambda _: None)
    assert asked == ["oo:flight:{k}"] * 2
    enough = False
    with pytest.raises(StoreUnavailable, match="written, but too few Redis replicas have it"):
        await waits.replace("k", "f", one_more)
    assert await wire.ask(("HGET", "k", "f")) == [b"7"]


async def test_decisions_of_a_user() -> None:
    """All of one, and of one with parts as many as fit into an answer, wherever they are."""
    wire, whole = Wire(), keys.decisions("u")
    await wire.ask(("HSET", whole, "x", "1", "y", "2"))
    assert await decisions(asker(wire), "u") == {b"x": b"1", b"y": b"2"}
    await wire.ask(
        ("HSET", keys.shared("u"), "parts", 256),
        ("HSET", parts.of(whole, b"z"), "z", "3"),
        ("ZADD", keys.agenda("u"), 5, "x", 7, "z", 9, "gone"),
    )
    assert await decisions(asker(wire), "u") == {b"x": b"1", b"z": b"3"}
