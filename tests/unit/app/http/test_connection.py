"""The time that a request and a client have, and how a connection ends."""

import asyncio

import pytest

from app.http.connection import Sweep
from tests.unit.app.http.wire import GET, POST, Wire, wired

pytestmark = pytest.mark.anyio


def waits(wire: Wire) -> bool:
    return wire.protocol._late is not None


async def test_the_time_of_a_request_ends_with_it() -> None:
    """However many pieces a request comes in: once it has arrived, no timer is left that would end its connection, and
    the time of one that waits behind another begins when that is answered."""
    async with wired() as wire:
        assert waits(wire)
        first = POST + b"abc"
        for at in range(len(first)):
            wire.send(first[at : at + 1])
            assert waits(wire) == (at + 1 < len(first))
        wire.send(POST + b"a")
        assert (wire.transport.written, waits(wire)) == (b"", False)
        await wire.transport.answered.wait()
        await asyncio.sleep(0)
        assert waits(wire)
    assert not waits(wire)


async def test_a_request_that_is_late_is_refused() -> None:
    """One that has begun is answered 408; the application, which waits for its body, does not answer as well."""
    async with wired(seconds=0.01) as wire:
        wire.send(POST + b"a")
        await wire.transport.closed.wait()
        await wire.settle()
        assert wire.refusal() == (408, "the request did not arrive within 0.01 seconds")
        assert wire.seen == []


async def test_a_connection_without_a_request_is_closed_silently() -> None:
    """There is no request to answer."""
    async with wired(seconds=0.01) as wire:
        wire.send(b"\r\n")
        await wire.transport.closed.wait()
        assert wire.transport.written == b""


async def test_a_client_that_takes_no_answer_is_cut_off() -> None:
    """After its time, unless it goes on taking."""
    async with wired(seconds=0.01) as wire:
        wire.send(GET)
        wire.protocol.pause_writing()
        wire.protocol.resume_writing()
        assert wire.protocol._unsent is None
        wire.protocol.pause_writing()
        await wire.transport.aborted.wait()
        wire.protocol.resume_writing()


async def test_closing_does_not_wait_for_ever() -> None:
    """What was written has its time to be taken too."""
    async with wired(seconds=0.01) as wire:
        wire.transport.unsent = 1
        wire.send(b"hello\r\n\r\n")
        assert wire.transport.calls == ["close"]
        await wire.transport.aborted.wait()


async def test_an_idle_connection_is_closed_by_the_sweep() -> None:
    """Five looks after its last answer, and not while a request or an answer is under way."""
    sweep = Sweep()
    async with wired(sweep=sweep) as wire, wired(sweep=sweep) as busy:
        wire.send(GET)
        await wire.settle()
        for turn in range(1, 8):
            busy.send(POST + b"abc" if turn % 2 else POST)
            sweep.look(asyncio.get_running_loop())
            assert wire.transport.is_closing() == (turn > 5)
            if not turn % 2:
                busy.send(b"abc")
            await busy.settle()
        assert not busy.transport.is_closing()
    assert sweep._timer is None


async def test_a_server_that_stops_ends_connections() -> None:
    """At once, or with the answer that is owed."""
    async with wired() as idle, wired() as busy:
        busy.send(GET)
        idle.protocol.shutdown()
        busy.protocol.shutdown()
        assert (idle.transport.is_closing(), busy.transport.is_closing()) == (True, False)
        await busy.settle()
        assert busy.transport.is_closing()
        assert b"connection: close" in busy.transport.written


async def test_reading_goes_on_when_nobody_needs_a_pause() -> None:
    """The protocol, which has enough to do, and the application, which does not take its body, pause it each."""
    async with wired() as wire:
        for pause in (wire.protocol.hold, wire.protocol.fill):
            pause(True)
        wire.protocol.hold(False)
        assert wire.transport.calls == ["pause"]
        wire.protocol.fill(False)
        assert wire.transport.calls == ["pause", "resume"]
