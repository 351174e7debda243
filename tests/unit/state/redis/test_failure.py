"""What the log says of a Redis that fails: that it does, how, and that it is over; not once for each request."""

import asyncio
import errno
import socket
import ssl

import pytest
from redis.asyncio.sentinel import MasterNotFoundError
from redis.exceptions import (
    AuthenticationError,
    ConnectionError,  # noqa: A004  # redis-py's
    InvalidResponse,
    MovedError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)

from state.errors import ConflictError, CorruptState, StoreError, StoreUnavailable
from state.redis.connect import open_servers
from state.redis.failure import Outage, as_unavailable, cause, pause_or_give_up, reason
from state.redis.servers import Where
from state.store import Store
from tests.unit.state.wire import Wire

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


def test_reads_do_not_end_a_refusal_of_writes(caplog: pytest.LogCaptureFixture) -> None:
    """A full Redis answers reads all the time: only a write tells that it is over."""
    told = Told(caplog)
    told.after(0, StoreUnavailable("Redis refuses: OutOfMemoryError", reads=True))
    told.now += 5
    with told.outage.watch():
        pass
    assert told.after(5, None) == ["Redis answers again"]
    told.after(5, AWAY)
    told.now += 5
    with told.outage.watch():
        pass
    assert caplog.messages == ["Redis cannot be reached: requests are answered 503", "Redis answers again"]


@pytest.mark.parametrize(
    ("error", "reads"),
    [
        (OutOfMemoryError("x"), True),
        (ResponseError("MISCONF x"), True),
        (ResponseError("NOREPLICAS x"), True),
        (ReadOnlyError("x"), False),
        (ResponseError("NOPERM x"), False),
        (ConnectionError("MISCONF x"), False),
    ],
    ids=str,
)
async def test_what_can_still_be_read(error: Exception, reads: bool) -> None:
    """Full, without room on its disk or without replicas; a replica may have what is old."""
    with pytest.raises(StoreUnavailable) as raised:
        await pause_or_give_up(Wire(), error, 3, asyncio.get_running_loop().time() + 60)
    assert raised.value.reads is reads


def noted(error: BaseException, where: str = "", *, tls: bool = False) -> BaseException:
    note = Where(where)
    note.tls = tls
    error.add_note(note)
    return error


def verification() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "secret words")
    error.verify_message = "self-signed certificate"
    return error


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("secret"), ""),
        (None, ""),
        (noted(ConnectionError("secret"), "h:1"), " (h:1)"),
        (noted(OSError(errno.ECONNREFUSED, "secret"), "h:1"), " (h:1: Connection refused)"),
        (OSError("secret"), ""),
        (noted(socket.gaierror(-2, "secret"), "h:1"), " (h:1: the host name is unknown)"),
        (noted(AuthenticationError("secret"), "h:1"), " (h:1: it wants another name or password, or one at all)"),
        (noted(ResponseError("DB index is out of range"), "h:1"), " (h:1: it has no database of this number)"),
        (noted(ResponseError("unknown command 'secret'"), "h:1"), " (h:1)"),
        (noted(OutOfMemoryError("secret"), "h:1"), " (h:1: its memory is full)"),
        (noted(ReadOnlyError("secret"), "h:1"), " (h:1: it is a replica)"),
        (noted(ResponseError("MISCONF secret"), "h:1"), " (h:1: it cannot save to its disk)"),
        (noted(ResponseError("NOREPLICAS secret"), "h:1"), " (h:1: too few replicas follow it)"),
        (noted(InvalidResponse("secret"), "h:1"), " (h:1: what answers there is not Redis)"),
        (MasterNotFoundError("secret"), " (no sentinel that answers knows a master)"),
        (verification(), " (the TLS handshake failed: self-signed certificate)"),
        (ssl.SSLError("secret"), " (the TLS handshake failed: SSLError)"),
        (
            noted(TimeoutError(), "h:1", tls=True),
            " (h:1: the TLS handshake was not finished: does this port speak TLS?)",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_causes(error: BaseException | None, told: str) -> None:
    """Address and words of the system, never those of an exception that may quote credentials."""
    assert cause(error) == told
    if error is not None:
        outer = StoreUnavailable("x")
        outer.__cause__ = error
        assert cause(outer) == told


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ReadOnlyError("secret"), "Redis refuses: ReadOnlyError"),
        (AuthenticationError("secret"), "Redis refuses: AuthenticationError"),
        (TimeoutError("secret"), "Redis did not answer in time"),
        (OSError("secret"), "Redis cannot be reached"),
    ],
)
def test_reasons(error: Exception, told: str) -> None:
    """What a client may read."""
    assert reason(error) == told
    with pytest.raises(StoreUnavailable, match=f"^{told}$") as raised, as_unavailable():
        raise error
    assert raised.value.__cause__ is error


@pytest.mark.parametrize(
    ("error", "failures", "seconds", "again"),
    [
        (ConnectionError(), 1, 60.0, True),
        (ConnectionError(), 2, 60.0, True),
        (ConnectionError(), 3, 60.0, False),
        (MovedError("1 h:2"), 9, 60.0, True),
        (MovedError("1 h:2"), 9, 0.0, False),
        (TimeoutError(), 1, 60.0, False),
        (ConnectionError(), 1, 0.009, False),
    ],
)
async def test_tried_again_or_given_up(
    monkeypatch: pytest.MonkeyPatch, error: Exception, failures: int, seconds: float, again: bool
) -> None:
    """Twice, as long as there is time; a slot that moves as often as there is time, a time limit never."""
    monkeypatch.setattr("state.redis.failure._jitter.uniform", lambda *_: 0.25)
    wire = Wire()
    deadline = asyncio.get_running_loop().time() + seconds
    if again:
        await pause_or_give_up(wire, error, failures, deadline)
    else:
        with pytest.raises(StoreUnavailable):
            await pause_or_give_up(wire, error, failures, deadline)
    assert wire.refreshed == 1
