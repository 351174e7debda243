"""Turns: who has one, who waits for it, and that nothing waits for ever."""

import asyncio

import pytest
from redis.exceptions import ResponseError

from state import keys
from state.update import turns
from state.update.turns import KIND, Turns
from tests.unit.state.wire import CUT, Wire

pytestmark = pytest.mark.anyio

FAR = 100.0


def later(seconds: float = FAR) -> float:
    return asyncio.get_running_loop().time() + seconds


async def test_one_after_the_other() -> None:
    """The second replica has its turn when the first ends its own; other users' are free."""
    wire = Wire()
    one, other = Turns(wire), Turns(wire)
    assert await one.take("u", later())
    assert await one.take("v", later())
    waiting = asyncio.create_task(other.take("u", later()))
    while len(wire.sent) < 5:  # noqa: ASYNC110  # it tells nobody when it asks again
        await asyncio.sleep(0)
    assert not waiting.done()
    assert other.wanted("u")  # who had to wait expects it again
    await wire.ask(one.end("u"))
    assert await waiting
    [left] = await wire.ask(("PTTL", keys.of("u", KIND)))
    assert 0 < left <= 500


async def test_a_turn_that_nobody_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """It expires."""
    monkeypatch.setattr(turns, "_LONGEST_MS", 1)
    wire = Wire()
    assert await Turns(wire).take("u", later())
    assert await Turns(wire).take("u", later())


async def test_without_a_turn() -> None:
    """When the time is over, Redis fails or holds something else there, it goes on without."""
    wire = Wire()
    assert not await Turns(wire).take("u", later(-1))
    assert wire.sent == []
    wire.on("SET", CUT, ResponseError("OOM"))
    for _ in range(2):
        assert not await Turns(wire).take("u", later())
    assert await Turns(wire).take("u", later())
    assert not await Turns(wire).take("u", later(0.01))


async def test_races_are_remembered_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of so many users at most."""
    found = Turns(Wire())
    assert not found.wanted("u")
    found.note("u")
    assert found.wanted("u")
    assert not found.wanted("v")
    monkeypatch.setattr(turns, "_LASTING", -1.0)
    found.note("u")
    assert not found.wanted("u")
    monkeypatch.setattr(turns, "_LASTING", FAR)
    monkeypatch.setattr(turns, "_REMEMBERED", 2)
    for user in "abc":
        found.note(user)
    assert [found.wanted(user) for user in "abc"] == [False, True, True]
