"""A connection with time limits: how long it waits for a request and for its client, and how it ends."""

import asyncio
import contextvars
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import uvicorn
from httptools import HttpRequestParser
from litestar.types import ASGIApp
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl
from uvicorn.server import ServerState

from app.http.cycle import Cycle
from app.http.heads import LATE, Head
from app.messages.basics import ErrorAnswer

__all__ = ["BETWEEN", "BODY", "HEAD", "Connection", "Sweep"]

# The part of a request that comes next.
BETWEEN, HEAD, BODY = range(3)

_REFUSED: Final = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
_ASGI: Final = {"version": "3.0", "spec_version": "2.3"}
_SWEEP_SECONDS: Final = 1.0


class Sweep:
    """Closes connections that have been idle for too long, by one timer for all of a process: `turn` counts its looks.

    A timer for each answer would cost more than writing it.
    """

    def __init__(self) -> None:
        self.turn = 0
        self._connections: set[Connection] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, connection: "Connection") -> None:
        """Look at a connection from now on."""
        self._connections.add(connection)
        if self._timer is None:
            self._timer = connection.loop.call_later(_SWEEP_SECONDS, self.look, connection.loop)

    def discard(self, connection: "Connection") -> None:
        """Look at a connection no more."""
        self._connections.discard(connection)
        if not self._connections and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Close what has been idle for too long, and look again in a second."""
        self.turn += 1
        self._timer = loop.call_later(_SWEEP_SECONDS, self.look, loop)
        for connection in list(self._connections):
            connection.close_if_idle(self.turn)


class Connection(asyncio.Protocol):
    """One connection to the server of `server_state`, in uvicorn's terms, until it or its client ends it.

    Two timers of `seconds`: one for a request to arrive, one for the client to take what is written. Between requests
    `sweep` gives it uvicorn's keep-alive time, and at most a second more.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: Mapping[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        seconds: float,
        sweep: Sweep,
    ) -> None:
        if not config.loaded:
            config.load()
        app: Any = config.loaded_app
        self._app: ASGIApp = app
        self.loop = _loop or asyncio.get_event_loop()
        self._server_state = server_state
        self._app_state = app_state
        self._sweep = sweep
        self._idle_turns = config.timeout_keep_alive / _SWEEP_SECONDS
        self._idle_since = 0
        self._seconds = seconds
        self._make_parser()
        self._part = BETWEEN
        self._late: asyncio.TimerHandle | None = None
        self._unsent: asyncio.TimerHandle | None = None
        self.cycle = Cycle(self, {}, keep_alive=True, expects=False)
        self.cycle.complete = True  # nothing is owed before the first request
        # While the client does not take what is written.
        self.unwritable: asyncio.Future[None] | None = None
        # Reading is paused while one of these holds: the protocol has enough to do, or the application has.
        self.held = self._full = False

    def _make_parser(self) -> None:
        """Take a strict parser, which refuses what follows `Connection: close`."""
        self.parser = HttpRequestParser(self)

    # What asyncio calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # always a Transport
        self.transport = transport
        self._server_state.connections.add(self)  # type: ignore[arg-type]  # it calls `shutdown` and nothing else
        self._sweep.add(self)
        self._scope: dict[str, Any] = {
            "type": "http",
            "asgi": _ASGI,
            "server": get_local_addr(transport),
            "client": get_remote_addr(transport),
            "scheme": "https" if is_ssl(transport) else "http",
            "root_path": "",
        }
        # The next request starts where an answer ends; it must not inherit what the task of that answer has set.
        self._context = contextvars.copy_context()
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self._server_state.connections.discard(self)
        self._sweep.discard(self)
        if not self.cycle.complete:
            self._abandon()
        self.resume_writing()

    def pause_writing(self) -> None:
        if self.unwritable is None:
            self.unwritable = self.loop.create_future()
        self._abort_later()

    def resume_writing(self) -> None:
        if self.unwritable is not None:
            self.unwritable.set_result(None)
            self.unwritable = None
        if self._unsent is not None:
            self._unsent.cancel()
            self._unsent = None

    # What uvicorn's server calls

    def shutdown(self) -> None:
        """End the connection, once the answer that is owed is complete."""
        if self.cycle.complete:
            self.transport.close()
        else:
            self.cycle.keep_alive = False

    # What the sweep and the cycle call

    def close_if_idle(self, turn: int) -> None:
        """Close the connection if its last answer is too long ago, at this `turn` of the sweep."""
        idle = self._part == BETWEEN and self._late is None and self.cycle.complete
        if idle and turn - self._idle_since > self._idle_turns:
            self._close()

    def fill(self, full: bool) -> None:  # noqa: FBT001  # the method's name says what the argument means
        """Stop reading, since the application does not take what was read, or go on."""
        self._pause(held=self.held, full=full)

    def hold(self, held: bool) -> None:  # noqa: FBT001  # likewise
        """Stop reading, since there is enough to do, or go on."""
        self._pause(held=held, full=self._full)

    def on_answer(self) -> None:
        """The answer is complete: the next request may come."""
        self._server_state.total_requests += 1
        self._idle_since = self._sweep.turn
        if self._full:
            self.fill(False)  # noqa: FBT003

    def _pause(self, *, held: bool, full: bool) -> None:
        before, after = self.held or self._full, held or full
        self.held, self._full = held, full
        if after != before and not self.transport.is_closing():
            self.transport.pause_reading() if after else self.transport.resume_reading()

    # Requests

    def _begin(self, head: Head, body: bytes | None = None) -> None:
        """Have the application answer a request whose head has arrived, perhaps with all of its body."""
        scope = self._scope | head.scope
        scope["headers"], scope["state"] = [*head.headers], {**self._app_state}
        self.head = head
        cycle = self.cycle = Cycle(self, scope, head.keep_alive, head.expects, body)
        tasks = self._server_state.tasks
        cycle.task = self.loop.create_task(cycle.run(self._app, tasks))
        tasks.add(cycle.task)

    def _abandon(self) -> None:
        """The answer that is owed will not be given."""
        self.cycle.disconnected = True
        self.cycle.tell()

    # Time, and the end

    def _wait(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(self._seconds, self._too_late)

    def _stop_waiting(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _too_late(self) -> None:
        self._late = None
        if self._part == BETWEEN:
            self._close()
        else:
            self._refuse(LATE, f"the request did not arrive within {self._seconds:g} seconds")

    def _refuse(self, status: bytes, detail: str) -> None:
        """Answer the request that is arriving, unless its answer has begun, and end the connection."""
        if self._part != BODY or not self.cycle.started:
            body = msgspec.json.encode(ErrorAnswer(detail))
            self.transport.write(_REFUSED % (status, len(body)) + body)
        if not self.cycle.complete:  # the application must not answer as well
            self._abandon()
        self._close()

    def _close(self) -> None:
        """Close the connection once the client has taken what was written, or `seconds` have passed."""
        self.transport.close()
        if self.transport.get_write_buffer_size():
            self._abort_later()

    def _abort_later(self) -> None:
        if self._unsent is None:
            self._unsent = self.loop.call_later(self._seconds, self.transport.abort)
