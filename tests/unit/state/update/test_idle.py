"""When users expire: the moment, which commands a change gets, and that it gets none where nobody expires."""

from collections.abc import Sequence

import pytest

from state import keys, parts
from state.redis.exchange import Command
from state.store import Store
from state.update import idle as idle_module
from state.update.agenda import Next
from state.update.changes import (
    MOMENT,
    Append,
    Change,
    Fields,
    Hash,
    List,
    Read,
    Remove,
    Values,
    Write,
)
from state.update.idle import Idle, milliseconds, present
from state.update.pending import Pending
from tests.unit.state.wire import Wire

pytestmark = pytest.mark.anyio

DAY = 86_400_000
NOW = 1_800_000_000_000
SEEN = keys.of("u", keys.SEEN)
MODEL, PAST = keys.record("u", "p"), keys.history("u")
EVERY = [keys.of("u", kind) for kind in keys.fixed(["p"])]


def commands(
    idle: Idle, seen: object, *writes: Write, there: Sequence[str] = (), now: int = NOW, spread: object = None
) -> list[Command]:
    """Those that belong to the writes, when `seen` was read."""
    pending = Pending(9)
    pending.note(writes)
    values = {SEEN: seen, MOMENT: [b"%d" % (now // 1_000), b"%d" % (now % 1_000 * 1_000)]}
    values[idle_module.spread("u")] = spread
    return idle.commands({"u": SEEN}, pending.commands({}), set(there), values)


def test_the_moment() -> None:
    """More than the days from now, by less than one; one for a whole day, which begins at another hour for others."""
    idle = Idle(30)
    at = idle.moment("u", NOW)
    begins = at - 31 * DAY
    assert begins <= NOW < begins + DAY
    assert {idle.moment("u", begins + gone) for gone in (0, 1, DAY // 2, DAY - 1)} == {at}
    assert (idle.moment("u", begins - 1), idle.moment("u", begins + DAY)) == (at - DAY, at + DAY)
    assert len({idle.moment(f"u{number}", NOW) % DAY for number in range(100)}) > 90
    assert milliseconds([b"1800000000", b"999999"]) == NOW + 999


def test_the_first_change_of_a_day() -> None:
    """All keys that a user may have, those that the change makes, and the moment itself."""
    idle = Idle(1, ["p"])
    at = idle.moment("u", NOW)
    other = keys.record("u", "of another replica")
    for seen in (None, b"%d" % (at - DAY), b"odd"):
        made = commands(idle, seen, Fields(MODEL, {b"A": b"1"}), Fields(other, {b"A": b"1"}), there=[MODEL])
        assert made == [("SET", SEEN, at), *(("PEXPIREAT", key, at) for key in (*EVERY, other, SEEN))]


def test_decisions_of_large_loops() -> None:
    """Their parts expire with all else of a user who has some."""
    idle = Idle(1, ["p"])
    made = commands(idle, None, Fields(MODEL, {b"A": b"1"}), spread=b"256")
    names = [*EVERY, *parts.every(keys.decisions("u")), SEEN]
    assert [command[1] for command in made[1:]] == names
    idle.days, idle.ends = 0, True
    made = commands(idle, b"1", Fields(MODEL, {b"A": b"1"}), spread=b"256")
    assert [command[1] for command in made] == names


def test_a_later_change() -> None:
    """Only what it makes, at the moment that the others have; of another user nothing."""
    idle = Idle(1, ["p"])
    at = idle.moment("u", NOW)
    foreign = Fields(keys.record("u2", "p"), {b"A": b"1"})
    made = commands(idle, b"%d" % at, Fields(MODEL, {b"A": b"1"}), Append(PAST, b"e"), foreign, there=[MODEL])
    assert made == [("PEXPIREAT", PAST, at)]
    assert commands(idle, b"%d" % at, Fields(MODEL, {b"A": b"1"}), there=[MODEL]) == []


def test_a_clock_that_jumps_back() -> None:
    """The moment stays, for what is made too: when the clock is right again, nothing has expired that should not."""
    idle = Idle(1, ["p"])
    at = idle.moment("u", NOW)
    made = commands(idle, b"%d" % at, Fields(MODEL, {b"A": b"1"}), now=NOW - 1_000 * DAY)
    assert made == [("PEXPIREAT", MODEL, at)]


def test_removals() -> None:
    """They bring nothing back, not even the moment; what is removed and made anew gets it."""
    idle = Idle(1, ["p"])
    assert commands(idle, None, Remove(MODEL), Fields(PAST, {})) == []
    at = idle.moment("u", NOW)
    for lazily in (False, True):
        anew = (Remove(MODEL, lazily), Fields(MODEL, {b"A": b"1"}))
        assert commands(idle, b"%d" % at, *anew, there=[MODEL]) == [("PEXPIREAT", MODEL, at)]


def test_users_who_were_to_expire() -> None:
    """Without the setting they keep all that they have, and the moment goes; of others nothing is changed."""
    idle = Idle(0, ["p"])
    idle.ends = True
    assert (idle.is_on, Idle(0).is_on, Idle(1).is_on) == (True, False, True)
    write = Fields(MODEL, {b"A": b"1"})
    assert commands(idle, b"1", write) == [*(("PERSIST", key) for key in EVERY), ("DEL", SEEN)]
    assert commands(idle, None, write) == []


def test_what_is_there() -> None:
    """As far as the values say it."""
    values = {
        "hash": [None, b"1"],
        "none": [None, None],
        "list": 2,
        "empty": 0,
        "string": b"x",
        "agenda": Next([(b"a", 1.0)], 2.0),
        "hidden": Next((), 5.0),
        "over": Next((), float("inf")),
    }
    assert present(values) == {"hash", "list", "agenda", "hidden"}


async def sent(idle: Idle, times: int = 1, *, wrong: bool = False) -> list[list[str]]:
    """What the last of some changes of a user costs; `wrong`: there is another value where the moment should be."""
    wire = Wire()
    store = Store(wire, timeout=5.0, history_size=9, marker_seconds=60, idle=idle)
    reads: tuple[Read, ...] = (Hash(MODEL, (b"A",)), List(PAST))

    def step(_: Values) -> Change[None]:
        return Change(None, (Fields(MODEL, {b"A": b"1"}), Append(PAST, b"e")))

    if wrong:
        await wire.ask(("HSET", SEEN, "a", "b"))
    for _ in range(times):
        wire.sent.clear()
        await store.update("u", reads, step)
    await store.close()
    return wire.sent


async def test_another_replica_puts_the_user_off_meanwhile() -> None:
    """The change starts over, so that what it makes expires with what the other put off."""
    wire, idle = Wire(), Idle(1, ["p"])
    store = Store(wire, timeout=5.0, history_size=9, marker_seconds=60, idle=idle)
    later = 4_000_000_000_000
    wire.on("EXEC", lambda: wire.ask(("SET", SEEN, later), ("PEXPIREAT", SEEN, later)))
    await store.update("u", (List(PAST),), lambda _: Change(None, (Append(PAST, b"e"),)))
    assert await wire.ask(("PEXPIRETIME", PAST), ("PEXPIRETIME", SEEN), ("LLEN", PAST)) == [later, later, 1]
    await store.close()


async def test_what_it_costs() -> None:
    """Nothing where nobody expires; else three reads in the first round trip, and once a day a command for each key."""
    reads, writes = ["WATCH", "HMGET", "LLEN"], ["HSET", "RPUSH"]
    end = ["SET", "EXEC"]
    assert await sent(Idle()) == [[*reads, "MULTI"], [*writes, *end]]
    reads += ["TIME", "GET", "HGET", "MULTI"]
    first = [reads, [*writes, "SET", *["PEXPIREAT"] * (len(EVERY) + 1), *end]]
    assert await sent(Idle(1, ["p"])) == first
    assert await sent(Idle(1, ["p"]), wrong=True) == first
    assert await sent(Idle(1, ["p"]), 2) == [reads, [*writes, *end]]
