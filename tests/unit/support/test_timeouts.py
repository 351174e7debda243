"""The time limit of tests ends what hangs, whatever it hangs in, and shows where."""

import asyncio
import threading
from collections.abc import Iterator

import pytest
import uvloop

from tests.support import timeouts
from tests.support.timeouts import TimedOut

SOON = 0.05


@pytest.fixture(autouse=True)
def limited() -> Iterator[None]:
    """A limit that ends soon, in place of this test's own."""
    timeouts.start(SOON)
    yield
    timeouts.cancel()


def test_a_task_that_waits_is_ended(capfd: pytest.CaptureFixture[str]) -> None:
    """uvloop does not swallow the limit, and the output names the coroutine that hangs."""

    async def waits_for_ever() -> None:
        await asyncio.Event().wait()

    loop = uvloop.new_event_loop()
    task = loop.create_task(waits_for_ever())
    with pytest.raises(TimedOut, match=r"took longer than 0\.05 s"):
        loop.run_until_complete(task)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    loop.close()
    assert "in waits_for_ever" in capfd.readouterr().err


def test_a_thread_that_waits_is_ended(capfd: pytest.CaptureFixture[str]) -> None:
    """A blocked main thread is interrupted, and its stack is shown."""
    with pytest.raises(TimedOut):
        threading.Event().wait()
    assert "test_a_thread_that_waits_is_ended" in capfd.readouterr().err


def test_a_cancelled_limit_does_not_come() -> None:
    """Nothing is raised after `cancel`."""
    timeouts.cancel()
    assert not threading.Event().wait(2 * SOON)
