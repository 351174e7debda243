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

    A request must begin within `seconds` of the connection and be there within `seconds` of its first bytes, and
    neither its head nor what may follow a chunked body must be longer than 64 KiB. The read from the socket in which
    either begins is not counted, so both may be longer by that much.
    """

    def __init__(self, *args: Any, seconds: float, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self._seconds = seconds
        self._whole = True
        self._head: int | None = None  # bytes of a head that is not complete
        self._tail: int | None = None  # bytes after a chunked body, where more headers may come
        self._began = False  # one of them, in this read
        self._late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._wait()

    def on_message_begin(self) -> None:
        self._stop_waiting()
        super().on_message_begin()
        self._whole = False
        self._head = 0
        self._began = True

    def on_headers_complete(self) -> None:
        self._head = None
        super().on_headers_complete()

    def on_chunk_header(self) -> None:
        self._tail = 0
        self._began = True

    def on_body(self, body: bytes) -> None:
        self._tail = None
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._whole = True
        self._tail = None
        self._stop_waiting()
        super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        self._began = False
        super().data_received(data)
        if self._whole and not (self._cycle is None or self._cycle.response_complete):
            return
        if self.transport.is_closing():
            return
        self._wait()
        if self._began:
            return
        if self._head is not None:
            self._head += len(data)
        if self._tail is not None:
            self._tail += len(data)
        if max(self._head or 0, self._tail or 0) > _LONGEST_HEAD:
            self._refuse(b"431 Request Header Fields Too Large", f"the headers are longer than {_LONGEST_HEAD} bytes")

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        self._refuse(b"400 Bad Request", "the request is not HTTP")

    @property
    def _cycle(self) -> RequestResponseCycle | None:
        """That of the last request, or of the one before it while its head arrives."""
        return self.cycle

    def _wait(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(self._seconds, self._too_late)

    def _stop_waiting(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _too_late(self) -> None:
        """End the connection, with a word if there is a request that was not answered before it was complete."""
        self._late = None
        cycle = self._cycle
        if self.pipeline or (self._head is not None and cycle and not cycle.response_complete):
            self._wait()  # the one before is answered first, and until then nothing may even be read
        elif self._whole or (self._head is None and cycle and cycle.response_started):
            self.transport.close()
        else:
            self._refuse(b"408 Request Timeout", f"the request did not arrive within {self._seconds:g} seconds")

    def _refuse(self, status: bytes, detail: str) -> None:
        body = msgspec.json.encode(ErrorAnswer(detail))
        head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(head % (status, len(body)) + body)
        self.transport.close()
