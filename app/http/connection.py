"""A connection with time limits: how long it waits for a request and for its client, and how it ends."""

import asyncio
import contextvars
from typing import Any, Final

import msgspec
from httptools import HttpRequestParser
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.http.flow import Flow
from app.http.heads import LATE
from app.messages.basics import ErrorAnswer

__all__ = ["BETWEEN", "BODY", "HEAD", "Connection"]

# The part of a request that comes next.
BETWEEN, HEAD, BODY = range(3)

_REFUSED: Final = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"


class Connection(HttpToolsProtocol):
    """uvicorn's protocol with two timers of `seconds`: one for the request, one for the client to take what is written.

    uvicorn 0.54 waits for both without a limit. Its keep-alive timer starts after the first answer only.
    """

    flow: Flow

    def __init__(self, *args: Any, seconds: float, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self._make_parser()
        self._seconds = seconds
        self._part = BETWEEN
        self._late: asyncio.TimerHandle | None = None
        self._unsent: asyncio.TimerHandle | None = None

    def _make_parser(self) -> None:
        """Take a strict parser, which refuses what follows `Connection: close`; uvicorn's drops it."""
        self.parser = HttpRequestParser(self)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn narrows it too
        super().connection_made(transport)
        self.flow = Flow(transport)
        # The next request starts where an answer ends; it must not inherit what the task of that answer has set.
        self._context = contextvars.copy_context()
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)
        if self._unsent is not None:
            self._unsent.cancel()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._abort_later()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unsent is not None:
            self._unsent.cancel()
            self._unsent = None

    def timeout_keep_alive_handler(self) -> None:
        self._close()

    @property
    def _owed(self) -> bool:
        """Whether an answer is not complete yet."""
        cycle: RequestResponseCycle | None = self.cycle  # None until the first request
        return cycle is not None and not cycle.response_complete

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
        if self._part != BODY or not self.cycle.response_started:
            body = msgspec.json.encode(ErrorAnswer(detail))
            self.transport.write(_REFUSED % (status, len(body)) + body)
        if self._owed:  # the application must not answer as well
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._close()

    def _close(self) -> None:
        """Close the connection once the client has taken what was written, or `seconds` have passed."""
        self.transport.close()
        if self.transport.get_write_buffer_size():
            self._abort_later()

    def _abort_later(self) -> None:
        if self._unsent is None:
            self._unsent = self.loop.call_later(self._seconds, self.transport.abort)
