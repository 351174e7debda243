"""Who is due, over the embedded store: on one server, and on one that answers as a Cluster does."""

import pytest
from redis.exceptions import MovedError, NoPermissionError

from state import keys
from state.errors import CorruptState, StoreUnavailable
from state.slots.due import Due, Waiting
from tests.unit.state.wire import CUT, Wire

pytestmark = pytest.mark.anyio


async def wired(*, spans_users: bool = True, **moments: int) -> tuple[Wire, Due]:
    """The users, each due at a moment; on a Cluster each user's slot is on a server of its own."""
    wire = Wire(spans_users=spans_users)
    due = Due(wire, timeout=1.0)
    for user, at in moments.items():
        await wire.ask(("ZADD", due.key(user), at, user))
    if not spans_users:
        wire.owned = [[keys.by_slot(keys.due(None)).index(due.key(user))] for user in moments]
    return wire, due


@pytest.mark.parametrize("spans_users", [True, False])
async def test_in_order_up_to_a_moment(spans_users: bool) -> None:
    """Who waits longest comes first; whoever is not due yet does not come."""
    _, due = await wired(spans_users=spans_users, ann=30, bob=10, cy=20, dee=31)
    assert await due.users(9, by=30) == [Waiting("bob", 10), Waiting("cy", 20), Waiting("ann", 30)]
    assert await due.count(30) == 3
    assert await due.users(9, by=9) == []


async def test_no_more_than_asked_for() -> None:
    """On one server the first of all; nothing else is read."""
    wire, due = await wired(ann=30, bob=10, cy=20)
    assert [one.user for one in await due.users(2, by=99)] == ["bob", "cy"]
    assert wire.sent == [["ZRANGE"]]


async def test_parts_from_a_random_one_on() -> None:
    """On a Cluster each user's part is in the user's slot; once there are enough the others are left for the next time,
    and each user comes at some time: one of three is missing after 60 times once in 10^10 runs."""
    wire, due = await wired(spans_users=False, ann=1, bob=1, cy=1)
    assert due.key("ann").startswith("oo:due:{")
    assert await due.count(1) == 3
    assert wire.sent == [["ZCOUNT"]] * 3
    wire.sent.clear()
    seen: set[str] = set()
    for _ in range(60):
        [one] = await due.users(1, by=1)
        seen.add(one.user)
    assert seen == {"ann", "bob", "cy"}
    assert wire.sent == [["ZRANGE"]] * 60


async def test_a_slot_that_moves() -> None:
    """What is on its way to another server is passed over for once, and the servers are looked for again."""
    wire, due = await wired(ann=1)
    wire.on("ZRANGE", MovedError("1 127.0.0.1:1"))
    assert await due.users(9, by=1) == []
    assert wire.refreshed == 1
    assert len(await due.users(9, by=1)) == 1


async def test_failures() -> None:
    """An outage, narrow rights, and a key of another type."""
    wire, due = await wired(ann=1)
    for failure in (CUT, NoPermissionError("NOPERM")):
        wire.on("ZCOUNT", failure)
        with pytest.raises(StoreUnavailable):
            await due.count(1)
    await wire.ask(("SET", keys.due(None), "x"), ("DEL", "nothing"))
    await wire.ask(("DEL", keys.due(None)), ("SET", keys.due(None), "x"))
    with pytest.raises(CorruptState, match="oo:due: holds a value of another type"):
        await due.users(1, by=1)


async def test_the_clock() -> None:
    """Redis's, in milliseconds."""
    _, due = await wired()
    assert 1_600_000_000_000 < await due.now() < 9_999_999_999_999
