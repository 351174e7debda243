"""A key that has a part in each slot: all parts are asked, each on its server, whichever comes first."""

import pytest

from state import keys
from state.errors import CorruptState
from state.redis.failure import Outage
from state.slots.slotted import Slotted
from tests.unit.state.wire import Wire

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(("spans_users", "parts"), [(True, 1), (False, 16_384)])
async def test_every_part_once(spans_users: bool, parts: int) -> None:
    """On one server there is one part, on a Cluster one in each slot, some hundred of which are asked together."""
    wire = Wire(spans_users=spans_users)
    found = Slotted(wire, "oo:x", timeout=1.0, outage=Outage())
    asked = [key async for page in found.ask(lambda key: ("EXISTS", key)) for key, _ in page]
    assert len(asked) == len(set(asked)) == parts
    assert set(asked) == ({"oo:x"} if spans_users else set(keys.by_slot("oo:x")))
    assert [len(names) for names in wire.sent] == ([1] if spans_users else [512] * 32)


async def test_a_part_of_another_type() -> None:
    """It is named."""
    wire = Wire()
    await wire.ask(("SET", "oo:x", 1))
    found = Slotted(wire, "oo:x", timeout=1.0, outage=Outage())
    with pytest.raises(CorruptState, match="oo:x: holds a value of another type"):
        await found.ask_some(["oo:x"], lambda key: ("XLEN", key))
    assert await found.now() > 1_700_000_000_000
