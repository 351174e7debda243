"""The gate where events wait while the store is away: it opens when the store answers, and for good at shutdown."""

import asyncio
from collections.abc import Awaitable

import pytest

from app.events.store_gate import StoreGate
from tests.support.waiting import PATIENCE_SECONDS, until_async

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store is asked again and again without a pause."""
    monkeypatch.setattr("app.events.store_gate.backoff", lambda *_, **__: 0.0)


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
    """While it is shut, events wait and the store is asked again and again; then they pass and the problem is over."""
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
    """Many events may fail at once: the store is asked by one task, and the last reason is told."""
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
    """Closed, it lets all pass while the store is away, ends pauses and the probe, and is never shut again."""
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
    """A store that answers pings and refuses writes leaves the gate open and events waiting, which is a problem."""
    asked = Asked()
    asked.answers = True
    gate = StoreGate(asked.ping)
    gate.shut("full")
    await soon(gate.passed())
    with gate.waiting():
        assert told(gate) == "store unavailable: full"
    assert told(gate) is None
