"""States of loops over the embedded store: changed by one at a time, and told of to the log."""

from collections.abc import Callable

import pytest

from state import keys
from state.errors import CorruptState
from state.loops import Changed, Loops
from state.redis.failure import Outage
from state.values.loop import LONGEST_AUDIT, Change, Stage, Standing, decode
from tests.unit.state.wire import CUT, LOSE, Wire

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("state.redis.failure._jitter.uniform", lambda *_: 0.0)


def loops(wire: Wire) -> Loops:
    return Loops(wire, timeout=100.0, outage=Outage())


def to(
    champion: str, nonce: str, *, line: bytes | None = None, seen: list[int] | None = None
) -> Callable[[Standing | None, int], Changed | None]:
    """A change that knows its own work again."""

    def make(found: Standing | None, now: int) -> Changed | None:
        if seen is not None:
            seen.append(now)
        if found is not None and found.nonce == nonce:
            return None
        number = 1 if found is None else found.number + 1
        after = Standing(number, "e", nonce, Stage(number, champion), [] if found is None else [found.now])
        return Changed(after, Change(number, now, "ops", after.now), line)

    return make


async def number(wire: Wire, name: str) -> int:
    return decode("k", (await loops(wire).states([name]))[name]).number


async def test_a_change() -> None:
    """It is read back with its entry, the newest first, at Redis's time; other loops have no state."""
    wire, seen = Wire(), list[int]()
    assert await loops(wire).states(["a", "b"]) == {}
    assert await loops(wire).states([]) == {}
    await loops(wire).change("a", to("p", "1", seen=seen))
    await loops(wire).change("a", to("q", "2"))
    assert list(await loops(wire).states(["b", "a"])) == ["a"]
    assert [(each.number, each.to.champion) for each in await loops(wire).audit("a")] == [(2, "q"), (1, "p")]
    assert (await loops(wire).audit("a"))[-1].at == seen[0] > 1_700_000_000_000
    assert await loops(wire).audit("b") == []
    assert await wire.ask(("EXISTS", keys.outbox(None))) == [0]


@pytest.mark.parametrize("spans_users", [True, False])
async def test_the_log_is_told_in_the_same_transaction(spans_users: bool) -> None:
    """In the part of the outbox that is in one slot with the states."""
    wire = Wire(spans_users=spans_users)
    await loops(wire).change("a", to("p", "1", line=b"x"))
    [[[_, fields]]] = await wire.ask(("XRANGE", keys.outbox_of_loops(in_slots=not spans_users), "-", "+"))
    assert fields == [b"g", b"a", b"l", b"x"]
    assert wire.sent[-1] == ["MULTI", "HSET", "XADD", "EXEC"]


async def test_a_reply_that_is_lost_makes_no_second_change() -> None:
    """Nor does one that never arrived lose it."""
    wire = Wire()
    wire.on("MULTI", LOSE)
    await loops(wire).change("a", to("p", "1", line=b"x"))
    assert await number(wire, "a") == 1
    wire.on("MULTI", CUT)
    await loops(wire).change("a", to("p", "2", line=b"y"))
    assert await number(wire, "a") == 2
    assert await wire.ask(("XLEN", keys.outbox(None))) == [2]


async def test_the_audit_trail_is_bounded() -> None:
    """The oldest entries go."""
    wire = Wire()
    for place in range(LONGEST_AUDIT + 2):
        await loops(wire).change("a", to("p", f"{place}"))
    found = await loops(wire).audit("a")
    assert [each.number for each in found] == list(range(LONGEST_AUDIT + 2, 2, -1))


async def test_what_is_damaged() -> None:
    """It is named, and not overwritten."""
    wire = Wire()
    await wire.ask(("HSET", keys.LOOPS, "a", "{}"), ("HSET", keys.LOOPS, "b audit", "{}"))
    with pytest.raises(CorruptState, match="oo:loops a: is not the state"):
        await loops(wire).change("a", to("p", "1"))
    with pytest.raises(CorruptState, match="oo:loops b audit: is not a list"):
        await loops(wire).change("b", to("p", "1"))
    assert await loops(wire).states(["a", "b"]) == {"a": b"{}"}


async def test_evidence() -> None:
    """Of each loop the last; its health is made of the one before, and both change together."""
    wire, seen = Wire(), list[bytes | None]()
    assert (await loops(wire).evidence("a"), await loops(wire).healths(["a"])) == (None, {})

    def longer(before: bytes | None) -> bytes:
        seen.append(before)
        return b"h" + (before or b"")

    await loops(wire).keep_evidence("a", b"1", longer)
    wire.on("MULTI", LOSE)
    await loops(wire).keep_evidence("a", b"2", longer)
    assert seen == [None, b"h", b"hh"]
    assert (await loops(wire).evidence("a"), await loops(wire).evidence("b")) == (b"2", None)
    assert await loops(wire).healths(["b", "a"]) == {"a": b"hhh"}
