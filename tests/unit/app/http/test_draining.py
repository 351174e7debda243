"""A stop in order: how long it lasts, and what a signal does."""

import asyncio
import os
import signal

import pytest

from app.http.draining import Draining

pytestmark = pytest.mark.anyio


async def test_the_time_that_is_left() -> None:
    """Before a stop all of it; in a stop what remains, draining included; never less than a second."""
    draining = Draining(drain_seconds=2, shutdown_seconds=20)
    assert (draining.begun, draining.seconds_left()) == (False, 20)
    draining.begin(2)
    assert draining.begun
    assert 20 < draining.seconds_left() <= 22
    short = Draining(drain_seconds=0, shutdown_seconds=0)
    short.begin()
    assert short.seconds_left() == 1


async def test_the_first_sigterm_drains_and_the_second_stops() -> None:
    """The server's own handler runs after the drain, or at once when the signal comes again."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    try:
        draining = Draining(drain_seconds=3_600, shutdown_seconds=1)
        draining.on_sigterm()
        os.kill(os.getpid(), signal.SIGTERM)
        while not draining.begun:  # noqa: ASYNC110  # a signal sets no event
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not stopped.is_set()
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(stopped.wait(), 60)
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
        signal.signal(signal.SIGTERM, before)
