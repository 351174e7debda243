"""HTTP as uvicorn speaks it, with two things besides: a bound on headers, and JSON for what is no HTTP at all."""

from typing import Final

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.schemas import ErrorAnswer

__all__ = ["HttpProtocol"]

# A request's line and headers together; load balancers pass on less.
_LONGEST_HEAD: Final = 65_536


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which would keep headers of any length in memory before anybody can refuse the request.

    What one read from the socket brings is taken whole, so a head may be longer by that much.
    """

    _head: int | None = None  # bytes of a head that is not complete, but for the read in which it began
    _began = False

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head = 0
        self._began = True

    def on_headers_complete(self) -> None:
        self._head = None
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        self._began = False
        super().data_received(data)
        if self._head is None or self._began or self.transport.is_closing():
            return
        self._head += len(data)
        if self._head > _LONGEST_HEAD:
            self._refuse(b"431 Request Header Fields Too Large", f"the headers are longer than {_LONGEST_HEAD} bytes")

    def send_400_response(self, msg: str) -> None:
        self._refuse(b"400 Bad Request", "the request is not HTTP")

    def _refuse(self, status: bytes, detail: str) -> None:
        body = msgspec.json.encode(ErrorAnswer(detail))
        head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(head % (status, len(body)) + body)
        self.transport.close()
