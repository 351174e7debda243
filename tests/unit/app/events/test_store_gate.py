"""The gate that events wait at while the store is away: it opens when the store answers, and for good at a stop."""

import asyncio
from collections.abc import Awaitable

import pytest

from app.events.store_gate import StoreGate
from app.events.waiting import grow, jitter
from tests.support.waiting import PATIENCE_SECONDS, until_async

pytestmark = pytest.mark.anyio


class Asked:
    """A store that is away until it is told to answer."""

    def __init__(self) -> None:
        self.answers = False
        self.times = 0

    async def ping(self) -> None:
        self.times += 1
        if not self.answers:
            raise ConnectionError


def told(gate: StoreGate) -> str | None:
    return gate.problem


async def soon(work: Awaitable[object]) -> None:
    """A gate that stays shut fails the test, and does not hang it."""
    await asyncio.wait_for(work, PATIENCE_SECONDS)


async def test_it_opens_when_the_store_answers() -> None:
    """Shut, it lets none through and asks again and again; then all pass, and the problem is over."""
    asked = Asked()
    gate = StoreGate(asked.ping)
    await soon(gate.passed())
    assert told(gate) is None
    gate.shut("away")
    assert told(gate) == "store unavailable: away"
    waiting = asyncio.create_task(gate.passed())

    async def asked_twice() -> bool:
        return asked.times >= 2

    await until_async(asked_twice, "asked again")
    assert not waiting.done()
    asked.answers = True
    await soon(waiting)
    assert told(gate) is None


async def test_one_probe_for_all_that_failed() -> None:
    """Many events find the store away at once; it is asked by one of them, and the last words are kept."""
    asked = Asked()
    gate = StoreGate(asked.ping)
    gate.shut("first")
    probe = gate._probe
    gate.shut("second")
    assert gate._probe is probe
    assert told(gate) == "store unavailable: second"
    asked.answers = True
    await soon(gate.passed())
    gate.shut("third")
    assert gate._probe is not probe
    await soon(gate.passed())


async def test_a_stop_waits_for_no_store() -> None:
    """Closed, it lets all through though the store is away, ends pauses and the probe, and is never shut again."""
    asked = Asked()
    gate = StoreGate(asked.ping)
    gate.shut("away")
    probe = gate._probe
    assert probe is not None
    waiting = [asyncio.create_task(gate.passed()), asyncio.create_task(gate.pause(1e6))]
    gate.close()
    await soon(asyncio.gather(*waiting))
    await asyncio.wait([probe])
    assert probe.cancelled()
    gate.shut("still away")
    await soon(gate.passed())
    assert gate.closing


async def test_what_waits_is_a_problem_though_the_store_answers() -> None:
    """A store that answers pings and refuses writes leaves the gate open and events waiting: that is told."""
    asked = Asked()
    asked.answers = True
    gate = StoreGate(asked.ping)
    gate.shut("full")
    await soon(gate.passed())
    with gate.waiting():
        assert told(gate) == "store unavailable: full"
    assert told(gate) is None


def test_pauses_grow_to_their_bound_and_spread() -> None:
    """Twice as long each time, up to the longest; a quarter less or more."""
    assert [grow(pause, 5.0) for pause in (0.1, 2.0, 4.0, 5.0)] == [0.2, 4.0, 5.0, 5.0]
    spread = [jitter(1.0) for _ in range(1_000)]
    assert 0.75 <= min(spread) < 0.85
    assert 1.15 < max(spread) <= 1.25
