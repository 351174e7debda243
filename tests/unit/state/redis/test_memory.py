"""How much memory Redis says it uses."""

import pytest
from redis.exceptions import NoPermissionError, RedisError

from state.redis.exchange import Command
from state.redis.memory import memory
from tests.unit.state.wire import CUT, Wire

pytestmark = pytest.mark.anyio


async def test_what_info_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several masters, the one that uses most, with its limit; fields that are hidden count as 0."""
    said = [b"# Memory\r\nused_memory:10\r\nmaxmemory:99\r\n", b"used_memory:20\r\nmaxmemory:30\r\n", b""]

    async def reply(_: object, commands: list[Command], __: float) -> list[bytes]:
        assert commands == [("INFO", "memory")]
        return [said.pop(0)]

    monkeypatch.setattr("state.redis.memory.exchange_or_raise", reply)
    wire = Wire()
    lend = (await wire.masters())[""]

    async def masters() -> dict[str, object]:
        return dict.fromkeys(("a", "b", "c"), lend)

    monkeypatch.setattr(wire, "masters", masters)
    assert await memory(wire, patience=1.0) == (20, 30)


async def test_what_cannot_be_asked() -> None:
    """Without the right to ask there is nothing to say; an outage is the caller's."""
    wire = Wire()
    wire.on("INFO", NoPermissionError("NOPERM"), CUT)
    assert await memory(wire, patience=1.0) is None
    with pytest.raises(RedisError):
        await memory(wire, patience=1.0)
