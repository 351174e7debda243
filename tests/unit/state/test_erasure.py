"""Erasing a user over the embedded store: by names and the index, and amid rewards with new keys."""

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
from redis.exceptions import NoPermissionError

from state import erasure, keys, parts
from state.erasure import Eraser, removal
from state.errors import ConflictError, StoreUnavailable
from state.redis.failure import Outage
from state.update.changes import MOMENT, Emit, More, Remove, Schedule
from state.values.decision import SHARED
from tests.unit.state.wire import CUT, LOSE, Action, Wire

pytestmark = pytest.mark.anyio

DAY = 86_400
FIXED = [keys.of("u", kind) for kind in keys.fixed(["p"])]
MODEL, INDEX = keys.record("u", "p"), keys.index("u")
ONE, TWO = keys.marker("u", "p", "one"), keys.marker("u", "p", "two")


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("state.redis.failure._jitter.uniform", lambda *_: 0.0)
    monkeypatch.setattr(erasure, "_PAUSE", 0.0)


async def reward(wire: Wire, marker: str) -> None:
    """What a reward with an idempotency key writes."""
    await wire.ask(
        ("MULTI",),
        ("HSET", MODEL, "n", 1),
        ("SET", marker, "r", "EX", 60),
        ("ZADD", INDEX, 1, keys.kind_of(marker), 2, ""),
        ("EXEC",),
    )


async def wired(*, indexed: int | None = 9 * DAY) -> Wire:
    wire = Wire()
    if indexed is not None:
        await wire.ask(("SET", keys.INDEXED_SINCE, int(time.time()) - indexed))
    await reward(wire, ONE)
    return wire


def eraser(wire: Wire) -> Eraser:
    return Eraser(wire, timeout=1.0, marker_seconds=DAY, outage=Outage())


async def left(wire: Wire) -> object:
    return (await wire.ask(("KEYS", "oo:{u}:*")))[0]


async def test_by_name_and_by_index() -> None:
    """No key is searched for; one transaction removes all, and the names of what existed come in order."""
    wire = await wired()
    assert await eraser(wire).erase("u", FIXED) == sorted([MODEL, INDEX, ONE])
    assert await left(wire) == []
    assert wire.sent == [
        ["SET", "GET"],
        ["WATCH", "ZRANGE", "HMGET", "TIME", *["EXISTS"] * len(FIXED)],
        ["MULTI", *["DEL"] * (len(FIXED) + 3), "ZREM", "EXEC"],
    ]
    assert await eraser(wire).erase("u", FIXED) == []


async def test_a_reward_with_a_new_key_comes_first() -> None:
    """The erasure starts over, so that its idempotency key is removed as well."""
    wire = await wired()

    wire.on("EXEC", partial(reward, wire, TWO))
    assert await eraser(wire).erase("u", FIXED) == sorted([MODEL, INDEX, ONE, TWO])
    assert await left(wire) == []


async def test_given_up_when_rewards_always_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """After many lost races it is an error, and nothing was removed."""
    monkeypatch.setattr(erasure, "_TRIES", 3)
    wire = await wired()
    for number in range(3):
        wire.on("EXEC", partial(reward, wire, keys.marker("u", "p", f"k{number}")))
    with pytest.raises(ConflictError):
        await eraser(wire).erase("u", FIXED)
    assert len(await left(wire)) == 6  # type: ignore[arg-type]  # a list


@pytest.mark.parametrize("failure", [CUT, LOSE])
async def test_a_lost_reply(failure: Action) -> None:
    """It is tried again, and what a lost transaction removed is named all the same."""
    wire = await wired()
    wire.on("EXEC", failure)
    assert await eraser(wire).erase("u", FIXED) == sorted([MODEL, INDEX, ONE])
    assert await left(wire) == []


async def test_refused() -> None:
    """After three failures it is given up."""
    wire = await wired()
    wire.on("DEL", *[NoPermissionError("NOPERM")] * 3)
    with pytest.raises(StoreUnavailable, match="Redis refuses"):
        await eraser(wire).erase("u", FIXED)


@pytest.mark.parametrize(
    ("indexed", "thorough", "searched"),
    [(None, False, True), (2 * DAY - 600, False, True), (2 * DAY + 600, False, False), (9 * DAY, True, True)],
)
async def test_keys_in_no_index(indexed: int | None, thorough: bool, searched: bool) -> None:
    """They are searched for until those of a version without indexes have expired, and when that is asked for."""
    wire = await wired(indexed=indexed)
    await wire.ask(("SET", TWO, "r"), ("SET", "oo:{u2}:p", "other"))
    removed = await eraser(wire).erase("u", FIXED, thorough=thorough)
    assert (TWO in removed) == searched
    assert await wire.ask(("EXISTS", TWO), ("EXISTS", "oo:{u2}:p")) == [not searched, 1]


async def test_known_once() -> None:
    """When all keys are in an index, that is not asked again."""
    wire = await wired()
    one = eraser(wire)
    await one.erase("u", FIXED)
    wire.sent.clear()
    await one.erase("u", FIXED)
    assert ["SET", "GET"] not in wire.sent


async def test_the_first_replica_notes_the_time() -> None:
    """Later ones leave it; a value that is not a time is taken for now."""
    wire = Wire()
    await eraser(wire).note_index()
    [noted] = await wire.ask(("GET", keys.INDEXED_SINCE))
    assert abs(int(noted) - time.time()) < 60
    await wire.ask(("SET", keys.INDEXED_SINCE, "7"))
    await eraser(wire).note_index()
    assert await wire.ask(("GET", keys.INDEXED_SINCE)) == [b"7"]
    await wire.ask(("SET", keys.INDEXED_SINCE, "text"))
    assert await eraser(wire)._seconds_indexed() == 0.0


async def test_an_index_of_the_wrong_type() -> None:
    """It is removed like any other key."""
    wire = await wired()
    await wire.ask(("DEL", INDEX), ("SET", INDEX, "text"))
    assert await eraser(wire).erase("u", FIXED) == sorted([MODEL, INDEX])


def last(fields: Sequence[bytes | None], now: int) -> bytes | None:
    """A last line, unless nothing was logged."""
    return b"%s at %d" % (fields[0], now) if fields[0] is not None and now > 0 else None


async def lines(wire: Wire, user: str = "u") -> list[bytes]:
    key = keys.outbox(None if wire.spans_users else user)
    [found] = await wire.ask(("XRANGE", key, "-", "+"))
    return [dict(zip(fields[::2], fields[1::2], strict=True))[b"l"] for _, fields in found]


@pytest.mark.parametrize("spans_users", [True, False])
async def test_the_last_line(spans_users: bool) -> None:
    """The removal adds it, in the same transaction; a user who changes meanwhile is read again."""
    wire = Wire(spans_users=spans_users)
    await wire.ask(("SET", keys.INDEXED_SINCE, int(time.time()) - 9 * DAY), ("HSET", keys.shared("u"), "epoch", "e"))

    async def other() -> None:
        await wire.ask(("HSET", keys.shared("u"), "epoch", "f"))

    wire.on("DEL", other)
    assert await eraser(wire).erase("u", FIXED, last=last) == [keys.shared("u")]
    [line] = await lines(wire)
    assert line.startswith(b"f at 1")
    assert await eraser(wire).erase("u", FIXED, last=last) == []
    assert len(await lines(wire)) == 1


async def test_the_last_line_of_damage() -> None:
    """What cannot be read is removed all the same."""
    wire = await wired()
    await wire.ask(("SET", keys.shared("u"), "x"))
    assert keys.shared("u") in await eraser(wire).erase("u", FIXED, last=lambda fields, _: b"%d" % len(fields))
    assert await lines(wire) == [b"%d" % len(SHARED)]


def test_a_removal_with_a_last_line() -> None:
    """Where nothing was logged it has none."""
    reads, step = removal("u", ["k"], "due", "outbox", last)
    assert {read.key for read in reads} == {"k", "due", keys.shared("u"), "outbox", MOMENT}
    nobody: list[bytes | None] = [None] * len(SHARED)
    values = {keys.shared("u"): [b"e", *nobody[1:]], MOMENT: [b"5", b"0"]}
    assert step(values).writes[0] == Emit("outbox", "", b"e at 5000")
    assert [type(write) for write in step(values | {keys.shared("u"): nobody}).writes] == [Remove, Schedule]


def test_a_removal_of_parts() -> None:
    """They are looked for where the user's hash says that there are some, or where nobody knows."""
    every = parts.every(keys.decisions("u"))
    reads, step = removal("u", ["k"], "due", "outbox", None)
    values: dict[str, Any] = {keys.shared("u"): [b"e", *[None] * (len(SHARED) - 2), b"256"], MOMENT: [b"5", b"0"]}
    with pytest.raises(More) as more:
        step(values)
    assert [read.key for read in more.value.reads] == every
    values |= {read.place: None for read in more.value.reads}
    assert {write.key for write in step(values).writes if isinstance(write, Remove) and write.lazily} == set(every)
    reads, step = removal("u", ["k"], "due", "outbox", None, knows=False)
    assert {read.key for read in reads} == {"k", "due", *every}
    assert {write.key for write in step({}).writes} == {"k", "due", *every}


async def test_parts_are_erased() -> None:
    """Those of a user who has some, in the same transaction, and named with the others."""
    wire = await wired()
    made = parts.of(keys.decisions("u"), b"x")
    await wire.ask(("HSET", keys.shared("u"), "epoch", "e", "parts", 256), ("HSET", made, "x", "r"))
    assert await eraser(wire).erase("u", FIXED) == sorted([MODEL, INDEX, ONE, keys.shared("u"), made])
    assert await left(wire) == []
    assert wire.sent[-1].count("UNLINK") == parts.COUNT
