"""HTTP as uvicorn speaks it, with bounds on requests that are still arriving, and JSON for what is no request."""

import asyncio
from typing import Any, Final

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.schemas import ErrorAnswer

__all__ = ["HttpProtocol"]

# A request's line and headers together; load balancers pass on less.
_LONGEST_HEAD: Final = 65_536


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which would wait for the rest of a request for ever, and keep headers of any length.

    A request must arrive within `seconds` of its first bytes, and its head must not be longer than 64 KiB. What one
    read from the socket brings is taken whole, so a head may be longer by that much.
    """

    def __init__(self, *args: Any, seconds: float, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self._seconds = seconds
        self._whole = True
        self._head: int | None = None  # bytes of a head that is not complete, but for the read in which it began
        self._began = False
        self._late: asyncio.TimerHandle | None = None

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._whole = False
        self._head = 0
        self._began = True

    def on_headers_complete(self) -> None:
        self._head = None
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._whole = True
        self._stop_waiting()
        super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        self._began = False
        super().data_received(data)
        if self._whole or self.transport.is_closing():
            return
        if self._late is None:
            self._late = self.loop.call_later(self._seconds, self._too_late)
        if self._head is not None and not self._began:
            self._head += len(data)
            if self._head > _LONGEST_HEAD:
                detail = f"the headers are longer than {_LONGEST_HEAD} bytes"
                self._refuse(b"431 Request Header Fields Too Large", detail)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        self._refuse(b"400 Bad Request", "the request is not HTTP")

    def _stop_waiting(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _too_late(self) -> None:
        """End the connection, with a word unless the request was answered before it was complete."""
        cycle: RequestResponseCycle | None = self.cycle  # of this request, or of the one before while the head arrives
        if cycle and cycle.response_started and (self._head is None or not cycle.response_complete):
            self.transport.close()
        else:
            self._refuse(b"408 Request Timeout", f"the request did not arrive within {self._seconds:g} seconds")

    def _refuse(self, status: bytes, detail: str) -> None:
        body = msgspec.json.encode(ErrorAnswer(detail))
        head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(head % (status, len(body)) + body)
        self.transport.close()
