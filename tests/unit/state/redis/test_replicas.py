"""Replicas that must have a write before it is acknowledged."""

import asyncio
from typing import Any

import pytest

from state.errors import StoreUnavailable
from state.redis import replicas
from state.redis.replicas import Replicas
from tests.unit.state.wire import CUT, Wire

pytestmark = pytest.mark.anyio


async def wait(wire: Wire, wanted: int | None, seconds: float = 10.0) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    async with wire.connection("k") as connection:
        await Replicas(wire, wanted).have_it(connection, "beside", deadline)


@pytest.mark.parametrize(
    ("wanted", "replicated", "waits"), [(0, True, 0), (None, False, 0), (None, True, 1), (2, False, 2)]
)
async def test_how_many(monkeypatch: pytest.MonkeyPatch, wanted: int | None, replicated: bool, waits: int) -> None:
    """As many as are wanted, else one where it may become the master; WAIT comes after a write of its own, and takes no
    more than nine tenths of the time that is left. Too few are an error."""
    asked, wire, fewer = list[Any](), Wire(), 0
    wire.replicated = replicated

    async def answered(_: object, commands: list[tuple[Any, ...]]) -> list[object]:
        asked.append(commands)
        return [b"OK", waits - fewer]

    monkeypatch.setattr(replicas, "exchange", answered)
    await wait(wire, wanted)
    await wait(wire, wanted, seconds=-1.0)
    assert len(asked) == (2 if waits else 0)
    if not waits:
        return
    for [written, (verb, count, milliseconds)], most in zip(asked, (9_000, 1), strict=True):
        assert written[:2] == ("SET", "beside")
        assert (verb, count) == ("WAIT", waits)
        assert 1 <= milliseconds <= most
    fewer = 1
    with pytest.raises(StoreUnavailable, match="written, but too few Redis replicas have it"):
        await wait(wire, wanted)


async def test_a_connection_that_fails() -> None:
    """What was written is not to be written again."""
    wire = Wire()
    wire.on("WAIT", CUT)
    with pytest.raises(StoreUnavailable, match="Redis cannot be reached"):
        await wait(wire, 1)
