"""One request and its answer, as ASGI has them."""

import asyncio
import logging
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final, Protocol

from litestar.types import ASGIApp

__all__ = ["WHOLE", "Cycle", "Wire"]

_log: Final = logging.getLogger("oo.http")

# Not ASGI's: where a scope has the body of a request that has arrived wholly. Who puts it there also takes an answer in
# one event: `http.response.start` with a `body`, whose length no header says.
WHOLE: Final = "oo.body"

# Reading stops when an application leaves so many bytes of a body unread.
_MOST_UNREAD: Final = 65_536
_LINE_END: Final = b"\r\n"
_BLANK_LINE: Final = b"\r\n\r\n"
_STATUS: Final = {each.value: f"HTTP/1.1 {each.value} {each.phrase}".encode() for each in HTTPStatus}
_CLOSE: Final = b"connection: close"
_CHUNKED: Final = b"transfer-encoding: chunked"
_joined: Final = b": ".join
_DEFECT: Final = b"Internal Server Error"
_DEFECT_HEADERS: Final = [
    (b"content-type", b"text/plain; charset=utf-8"),
    (b"content-length", b"%d" % len(_DEFECT)),
    (b"connection", b"close"),
]


class Wire(Protocol):
    """What a cycle needs of its connection."""

    transport: asyncio.Transport
    unwritable: asyncio.Future[None] | None

    def fill(self, full: bool) -> None:  # noqa: FBT001  # the method's name says what the argument means
        """Stop reading, since the application does not take what was read, or go on."""

    def on_answer(self) -> None:
        """The answer is complete."""


class Cycle:
    """Gives the application a request, and writes its answer: head and body at once, if it comes in one piece.

    `expects`: the client waits for 100 (Continue) before it sends the body. `body` is all of it, if it came with the
    head. The connection sets `disconnected` and calls `tell`.
    """

    __slots__ = (
        "_body",
        "_chunked",
        "_expects",
        "_left",
        "_news",
        "_start",
        "_waiter",
        "_wire",
        "complete",
        "disconnected",
        "keep_alive",
        "more_body",
        "scope",
        "started",
        "task",
    )

    task: asyncio.Task[None]

    def __init__(
        self,
        wire: Wire,
        scope: Any,
        keep_alive: bool,  # noqa: FBT001  # by name it would take as long again
        expects: bool,  # noqa: FBT001  # likewise
        body: bytes | None = None,
    ) -> None:
        self._wire = wire
        self.scope = scope
        self.keep_alive = keep_alive
        # Of the request. There is news that `receive` has not told.
        self._expects = expects
        self._body: bytes | bytearray = body or b""
        self.more_body = body is None
        self._news = not self.more_body
        self._waiter: asyncio.Future[None] | None = None
        # Of the answer.
        self._start: Any = None
        self.started = self.complete = self.disconnected = False

    async def run(self, app: ASGIApp, running: set[asyncio.Task[None]]) -> None:
        """Have `app` answer, as `task`, one of those `running`. What it fails to answer is answered 500, or cut off."""
        if not self.more_body and not self._expects:
            self.scope[WHOLE] = bytes(self._body)
        try:
            await app(self.scope, self.receive, self.send)
        except BaseException:  # noqa: BLE001  # no caller is left to handle it
            _log.exception("a request failed")
        if not self.complete and not self.disconnected:
            if self.started:
                self._wire.transport.close()
            else:
                self._start = {"status": 500, "headers": _DEFECT_HEADERS}
                self._write(_DEFECT, more=False)
        # The connection keeps this cycle until the next request, which may be long.
        self.scope = self._start = None
        self._body = b""
        # A callback of the task would be a turn of the event loop.
        running.discard(self.task)

    # The request

    def feed(self, body: bytes, *, more: bool) -> None:
        """A part of the body has arrived; `more`: it is not the last one."""
        if self.complete:
            return
        if body:
            if self._body:
                self._body = bytearray(self._body) if isinstance(self._body, bytes) else self._body
                self._body += body
            else:
                self._body = body
            if more and len(self._body) > _MOST_UNREAD:
                self._wire.fill(True)  # noqa: FBT003
        self.more_body = more
        self.tell()

    def tell(self) -> None:
        """Let `receive` look again."""
        self._news = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def receive(self) -> Any:
        """ASGI's: the part of the body that has arrived, or that the client is gone or answered."""
        if self._expects and not self._wire.transport.is_closing():
            self._expects = False
            self._wire.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if not self._news and not self.disconnected and not self.complete:
            self._wire.fill(False)  # noqa: FBT003
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self.disconnected or self.complete:
            return {"type": "http.disconnect"}
        self._news = False
        body, self._body = self._body, b""
        return {"type": "http.request", "body": bytes(body), "more_body": self.more_body}

    # The answer

    async def send(self, event: Any) -> None:
        """ASGI's. The head waits for the first part of the body; `body` in the event that starts is all of it."""
        if self._wire.unwritable is not None and not self.disconnected:
            await asyncio.shield(self._wire.unwritable)
        if self.disconnected:
            return
        if event["type"] == "http.response.start" and self._start is None:
            self._start = event
            self._expects = False
            if "body" in event:
                self._answer(event["status"], event["headers"], event["body"])
        elif event["type"] == "http.response.body" and self._start is not None and not self.complete:
            self._write(event.get("body", b""), more=event.get("more_body", False))
        else:
            raise RuntimeError(f"the application sent {event['type']} out of order")

    def _answer(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> None:
        """Write an answer that came in one piece."""
        lines = [_STATUS[status], *map(_joined, headers), b"content-length: %d" % len(body)]
        if _CLOSE in lines:
            self.keep_alive = False
        elif not self.keep_alive:
            lines.append(_CLOSE)
        self._wire.transport.write(_head(lines) + (b"" if self.scope["method"] == "HEAD" else body))
        self._end()

    def _write(self, body: bytes, *, more: bool) -> None:
        head = b"" if self.started else self._head()
        if self.scope["method"] == "HEAD":
            self._left, body = 0, b""
        elif self._chunked:
            body = (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + (b"" if more else b"0\r\n\r\n")
        else:
            self._left -= len(body)
            if self._left < 0 or (self._left and not more):
                raise RuntimeError("the application's Content-Length is not the length of its body")
        transport = self._wire.transport
        if head or body:
            transport.write(head + body)
        self.started = True
        if not more:
            self._end()

    def _end(self) -> None:
        self.started = self.complete = self._news = True
        if self._waiter is not None:
            self.tell()
        # A client that is cut off while it sends may never see the answer: the connection ends after the body.
        if not self.keep_alive and not self.more_body:
            self._wire.transport.close()
        self._wire.on_answer()

    def _head(self) -> bytes:
        """The status and headers, whose names are in lower case, as ASGI demands."""
        status, headers = self._start["status"], self._start.get("headers", ())
        self._chunked, self._left = False, 0
        values = dict(headers)
        lines = [_STATUS[status], *map(_joined, headers)]
        length = values.get(b"content-length")
        if length is not None:
            self._left = int(length)
        elif self.scope["method"] != "HEAD" and status not in (204, 304):
            self._chunked = True
            lines.append(_CHUNKED)
        if b"close" in values.get(b"connection", b"").lower():
            self.keep_alive = False
        elif not self.keep_alive:
            lines.append(_CLOSE)
        return _head(lines)


def _head(lines: Sequence[bytes]) -> bytes:
    head = _LINE_END.join(lines)
    if len(head.splitlines()) != len(lines):
        raise RuntimeError("a header of the application has a line end in it")
    return head + _BLANK_LINE
