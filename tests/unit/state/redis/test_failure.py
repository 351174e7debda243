"""What the log says of a Redis that fails: that it does, how, and that it is over; not once for each request."""

import pytest

from state.errors import ConflictError, CorruptState, StoreError, StoreUnavailable
from state.redis.connect import open_servers
from state.redis.failure import Outage
from state.store import Store

pytestmark = pytest.mark.anyio

AWAY = StoreUnavailable("Redis cannot be reached")
FULL = StoreUnavailable("Redis refuses: OutOfMemoryError")


class Told:
    """An outage with a clock of its own, and what it told the log since the last look."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self.now = 0.0
        self.outage = Outage(lambda: self.now)
        self._caplog = caplog

    def after(self, seconds: float, error: Exception | None) -> list[str]:
        self.now += seconds
        self._caplog.clear()
        self.outage.note(error)
        return self._caplog.messages


def test_said_now_and_then_while_it_lasts(caplog: pytest.LogCaptureFixture) -> None:
    """The first failure is told at once, and after it one in ten seconds, in the words of the last."""
    told = Told(caplog)
    assert told.after(0, None) == []
    assert told.after(5, AWAY) == ["Redis cannot be reached: requests are answered 503"]
    assert [told.after(1, AWAY) for _ in range(9)] == [[]] * 9
    assert told.after(1, FULL) == ["Redis refuses: OutOfMemoryError: requests are answered 503"]


def test_said_once_when_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    """When for a second nothing failed, it is over; before that a part of Redis may still be away."""
    told = Told(caplog)
    told.after(0, AWAY)
    assert told.after(0.5, None) == []
    assert told.after(0.5, None) == ["Redis answers again"]
    assert told.after(5, None) == []


@pytest.mark.parametrize("error", [ConflictError("x"), CorruptState("k", "x")])
def test_other_errors_are_no_outage(caplog: pytest.LogCaptureFixture, error: StoreError) -> None:
    """A lost race or a damaged key says nothing of whether Redis is there."""
    assert Told(caplog).after(0, error) == []


async def test_a_name_that_nobody_knows(caplog: pytest.LogCaptureFixture) -> None:
    """The log tells a slip in REDIS_URL from a Redis that is down, and shows no password."""
    # Longer than any name: the resolver knows so without asking a name server, which may be slow or not there.
    name = ".".join(["nowhere" * 8] * 6)
    servers = open_servers(f"redis://user:secret@{name}:6379/0", size=4, timeout=60)
    store = Store(servers, timeout=60, history_size=1, marker_seconds=1)
    with pytest.raises(StoreUnavailable, match=r"^Redis cannot be reached$"):
        await store.ping()
    await store.close()
    assert caplog.messages == [
        f"Redis cannot be reached ({name}:6379: the host name is unknown): requests are answered 503"
    ]


def test_what_is_watched(caplog: pytest.LogCaptureFixture) -> None:
    """Errors pass through, and both ends are noted."""
    told = Told(caplog)

    def ask(error: StoreError | None) -> None:
        with told.outage.watch():
            if error:
                raise error

    with pytest.raises(StoreUnavailable):
        ask(AWAY)
    told.now += 1
    with pytest.raises(CorruptState):
        ask(CorruptState("k", "x"))
    ask(None)
    assert caplog.messages == ["Redis cannot be reached: requests are answered 503", "Redis answers again"]
