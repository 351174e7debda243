"""Lines that wait to be published, over the embedded store: on one server, and on one that answers as a Cluster."""

import pytest
from redis.exceptions import ResponseError

from state import keys
from state.errors import StoreUnavailable
from state.redis.failure import Outage
from state.slots import outbox as outbox_module
from state.slots.outbox import Outbox, Size
from state.update.operation import Emitted
from tests.unit.state.wire import Wire

pytestmark = pytest.mark.anyio
LATER = 10**15


async def waiting(*, spans_users: bool = True) -> tuple[Wire, Outbox, dict[str, bytes]]:
    """Two lines of ann and one of bob, with the moment of each as its text."""
    wire = Wire(spans_users=spans_users)
    outbox = Outbox(wire, timeout=1.0, outage=Outage())
    names = {}
    for user, at in (("ann", 5), ("ann", 7), ("bob", 9)):
        [name] = await wire.ask(("XADD", outbox.key(user), f"{at}-0", "g", "tips", "l", f"{at}"))
        names[f"{user} {at}"] = name
    if not spans_users:  # the slots of ann and bob, and one without lines
        wire.owned = [[keys.by_slot(keys.outbox(None)).index(outbox.key(user))] for user in ("ann", "bob", "cy")]
    return wire, outbox, names


async def left(outbox: Outbox, by: int) -> list[Emitted]:
    return [one async for page in outbox.left(by) for one in page]


@pytest.mark.parametrize("spans_users", [True, False])
async def test_what_is_left(spans_users: bool) -> None:
    """What was written before a moment, with its place; what is published is removed, and may be removed again."""
    _, outbox, names = await waiting(spans_users=spans_users)
    assert await left(outbox, 5) == []
    assert await left(outbox, 7) == [Emitted(outbox.key("ann"), names["ann 5"], "tips", b"5")]
    found = await left(outbox, LATER)
    assert sorted(one.line for one in found) == [b"5", b"7", b"9"]
    for _ in range(2):
        await outbox.remove(found[:2])
    assert [one.line for one in await left(outbox, LATER)] == [found[2].line]
    assert await outbox.now() > 1_700_000_000_000


@pytest.mark.parametrize("spans_users", [True, False])
async def test_whether_lines_may_go(spans_users: bool) -> None:
    """To ask removes nothing; a Redis that can only be read says no."""
    wire, outbox, _ = await waiting(spans_users=spans_users)
    found = await left(outbox, LATER)
    await outbox.check(found)
    assert len(await left(outbox, LATER)) == len(found)
    wire.on("XDEL", ResponseError("NOREPLICAS Not enough good replicas to write."))
    with pytest.raises(StoreUnavailable):
        await outbox.check(found)


async def test_size_and_limit() -> None:
    """How many lines wait in each part and since when; beyond a limit the oldest go."""
    wire, outbox, _ = await waiting()
    key = outbox.key("ann")
    assert await outbox.size() == {key: Size(3, 5)}
    assert await outbox.trim(key, 1) == 2
    assert await outbox.size() == {key: Size(1, 9)}
    await wire.ask(("DEL", key))
    assert await outbox.size() == {}


async def test_an_entry_of_someone_else() -> None:
    """What has no line is an empty one."""
    wire, outbox, _ = await waiting()
    await wire.ask(("XADD", outbox.key("ann"), "11-0", "x", "y"))
    assert (await left(outbox, LATER))[-1].line == b""


async def test_a_line_that_goes_meanwhile() -> None:
    """It is not in the answer, or has nothing any more: neither is an error."""
    _, outbox, _ = await waiting()
    assert outbox_module._sent("k", b"1-0", None) is None
    assert outbox_module._sent("k", b"1-0", [b"l", b"x"]) == Emitted("k", b"1-0", "", b"x")
    assert await outbox.trim(outbox.key("ann"), 9) == 0
