"""HTTP as uvicorn speaks it, with bounds on what a stranger can make the service keep and do.

The states of a connection, and what moves it from one to the next:

            first byte          blank line         last byte
    BETWEEN ─────────▶ HEAD ─────────────▶ BODY ─────────────▶ OWED ───▶ BETWEEN
                         │                   │                       answer complete
                         │ 400, 408, 431     │ the same, without a word if an answer has begun
                         └──────▶ closed ◀───┘

OWED is BETWEEN while uvicorn's `cycle` has an answer to give: what comes meanwhile waits in `_unread`. A body whose
answer is complete before it (401, 413) is read and dropped, and then nothing is owed. Two timers may run: `_late` while
a request is waited for (in all states but OWED), and `_unsent` while the client does not take what was written.

What of uvicorn 0.54 and httptools 0.9 this works around:

- uvicorn parses all that comes and queues the requests in it without a bound (`pipeline`), and each answer and each
  `receive` resumes reading. Here the parser gets bytes only up to the end of a request, and the rest waits until that
  is answered, so `pipeline` stays empty. The parser cannot stop by itself: it is fed up to the next blank line, where
  each head and each chunked body ends, or up to the end of a body whose length is known.
- uvicorn does all the work of one read at once. Here a connection has `_MOST_WORK` pieces and chunks in each turn.
- httptools ends a request that offers an upgrade at its head, so its body is parsed as the next request (httptools'
  issue 124, uvicorn's 2722). Here such a head is parsed again without the offer (RFC 9110, 7.8: it may be ignored).
- uvicorn adds trailers to the headers of a request that the application reads already. Here they are dropped.
- uvicorn waits for ever for the rest of a request, and for a client to take its answer.
- llhttp takes HTTP/0.9 and HTTP/2.0, a request without Host or with two, `Transfer-Encoding: gzip, chunked`, any
  Transfer-Encoding in HTTP/1.0, and a fragment in the target. Here each of them is refused.
"""

import asyncio
import contextvars
from typing import Any, Final

import msgspec
from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.messages.basics import ErrorAnswer

__all__ = ["HttpProtocol"]

# A request's line and headers together; load balancers pass on less. And what stands around the chunks of a body.
_LONGEST_HEAD: Final = 65_536
_MOST_HEADERS: Final = 128
# A body may have so many bytes around its chunks per byte in them, besides: enough for chunks of a single byte.
_FREE_AROUND: Final = 8
# More than this that waits for an answer to be given, and nothing more is read. The read that exceeds it is kept.
_MOST_UNREAD: Final = 16_384
# The parser is given at most so much of a head or a chunked body at once.
_PIECE: Final = 2_048
# Pieces and chunks in one turn of the event loop: less than a millisecond.
_MOST_WORK: Final = 256
_LINE_END: Final = b"\r\n"
_BLANK_LINE: Final = _LINE_END * 2

_VERSIONS: Final = ("1.1", "1.0")

_BETWEEN, _HEAD, _BODY = range(3)

_BAD: Final = b"400 Bad Request"
_LATE: Final = b"408 Request Timeout"
_LONG: Final = b"431 Request Header Fields Too Large"
_MANY: Final = f"there are more than {_MOST_HEADERS} headers"


class _Refusal(Exception):
    """Raised within the parser: the request is answered with this status and detail, and the connection ends."""

    def __init__(self, status: bytes, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class _Flow(FlowControl):
    """uvicorn's flow control, in which an answer or a `receive` would resume what the protocol has paused."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__(transport)
        self.held = False  # by the protocol, whoever else wants bytes

    def hold(self, held: bool) -> None:  # noqa: FBT001  # it says what it is
        if held == self.held:
            return
        self.held = held
        if not self.read_paused:
            self._transport.pause_reading() if held else self._transport.resume_reading()

    def pause_reading(self) -> None:
        if self.held:
            self.read_paused = True
        else:
            super().pause_reading()

    def resume_reading(self) -> None:
        if self.held:
            self.read_paused = False
        elif self.read_paused:
            super().resume_reading()


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which reads one request of a connection at a time, within bounds.

    A request must begin within `seconds` of the connection and be there within `seconds` of its first bytes, and what
    is written must be taken within `seconds`. A head is at most 64 KiB and 128 headers.
    """

    flow: _Flow

    def __init__(self, *args: Any, seconds: float, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        # uvicorn has it drop what follows a request that closes the connection: nothing does here.
        self.parser.set_dangerous_leniencies(lenient_data_after_close=False)
        self._seconds = seconds
        self._part = _BETWEEN
        self._unread = b""
        self._at = 0  # in it; what is before was parsed
        self._size = 0  # bytes of the head, or of what stands around the chunks of a body
        self._left = 0  # bytes of a body of known length that did not come yet
        self._end = b""  # the last bytes parsed of a head or a chunked body: a blank line may have begun
        self._work = 0  # in this turn
        self._late: asyncio.TimerHandle | None = None
        self._unsent: asyncio.TimerHandle | None = None
        self._turn: asyncio.Handle | None = None

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self.flow = _Flow(transport)
        # An answer's end leads to the next request, which must not inherit what the task of the one before has set.
        self._context = contextvars.copy_context()
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        if self._turn is not None:
            self._turn.cancel()
        self._unread, self._at = b"", 0
        super().connection_lost(exc)
        if self._unsent is not None:
            self._unsent.cancel()

    def data_received(self, data: bytes) -> None:
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        at = 0
        if self._unread:
            data = self._unread[self._at :] + data
        elif self._part == _BETWEEN:
            if data[0] in _LINE_END:
                data = data.lstrip(_LINE_END)  # at once, for there may be many before a request
            elif not (self._turn or self._owed):
                at = self._read_whole(data)
                if at == len(data):
                    return
        self._unread, self._at = data, at
        if self._turn is None:
            self._read_on()

    def _read_whole(self, data: bytes) -> int:
        """Parse a head and its body, if `data` is both and nothing else; how much of `data` is done with.

        Nearly every request comes so, and it takes half of what `_read_on` would.
        """
        end = data.find(_BLANK_LINE, 0, _PIECE) + len(_BLANK_LINE)
        if end < len(_BLANK_LINE):
            return 0
        if not self._parse(data[:end]):
            return len(data)
        rest = len(data) - end
        if rest and rest == self._left:
            self._left = 0
            self._parse(data[end:])
            return len(data)
        if self._part != _BETWEEN:
            self._wait()
        return end

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

    # The bytes

    @property
    def _owed(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle  # until the first request
        return cycle is not None and not cycle.response_complete

    def _read_on(self) -> None:
        """Parse what came, up to where the next request has to wait for an answer, or all else for its turn."""
        self._turn = None
        self._work = 0
        busy = False
        while self._at < len(self._unread) and not (self._part == _BETWEEN and self._owed):
            if self.transport.is_closing():
                self._unread = b""
                return
            busy = self._work > _MOST_WORK
            if busy:
                break
            if not self._step():
                return
        left = len(self._unread) - self._at
        if not left:
            self._unread, self._at = b"", 0
        if self.transport.is_closing():
            return
        if busy:
            self._next_turn()
        if (busy or left > _MOST_UNREAD) != self.flow.held:
            self.flow.hold(not self.flow.held)
        if self._part != _BETWEEN or not self._owed:
            self._wait()

    def _step(self) -> bool:
        """Parse the next piece of `_unread`; whether the connection goes on."""
        start, left, part = self._at, self._left, self._part
        self._at = end = min(len(self._unread), start + left) if left else self._cut()
        piece = self._unread[start:end]  # not copied if it is all there is
        self._work += 1
        if not self._parse(piece):
            return False
        if left:
            self._left = left - len(piece)
        elif self._part == _HEAD or (self._part == _BODY and part == _BODY):
            self._measure(piece)
        return True

    def _next_turn(self) -> None:
        if self._turn is None:
            self._turn = self.loop.call_soon(self._read_on, context=self._context)

    def _cut(self) -> int:
        """Where in `_unread` to stop parsing and look: never beyond the end of the request."""
        data, start = self._unread, self._at
        if self._end:
            crossing = (self._end + data[start : start + 3]).find(_BLANK_LINE)
            if crossing >= 0:
                return start + crossing + len(_BLANK_LINE) - len(self._end)
        found = data.find(_BLANK_LINE, start, start + _PIECE)
        return found + len(_BLANK_LINE) if found >= 0 else min(len(data), start + _PIECE)

    def _parse(self, piece: bytes) -> bool:
        """Whether the parser takes the piece; the connection ends otherwise."""
        try:
            self.parser.feed_data(piece)
        except HttpParserUpgrade:
            # The piece ended with the head. The new parser reads it like any other, and then the body.
            version = self.parser.get_http_version().encode()
            lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)]
            lines += [b"%b: %b" % (name, value) for name, value in self.headers if name != b"upgrade"]
            self.parser = HttpRequestParser(self)
            return self._parse(_LINE_END.join(lines) + _BLANK_LINE)
        except HttpParserError as error:
            cause = error.__context__  # what a callback raised
            if isinstance(cause, _Refusal):
                self._refuse(cause.status, cause.detail)
            else:
                self._refuse(_BAD, "the request is not HTTP")
            return False
        return True

    def _measure(self, piece: bytes) -> None:
        """Count what was parsed of a head or a chunked body that goes on."""
        self._end = (self._end + piece[-3:])[-3:]
        self._size = max(0, self._size + len(piece))
        if self._size > _LONGEST_HEAD:
            what = "headers" if self._part == _HEAD else "trailers and chunk extensions"
            self._refuse(_LONG, f"the {what} are longer than {_LONGEST_HEAD} bytes")
        elif self._part == _HEAD and len(self.headers) > _MOST_HEADERS:
            self._refuse(_LONG, _MANY)

    # What the parser calls

    def on_message_begin(self) -> None:
        if self._owed:  # never, as the parser is fed
            raise _Refusal(_BAD, "the request came before the one before it was answered")
        if self._late is not None:
            self._stop_waiting()
        super().on_message_begin()
        self._part = _HEAD
        self._size = 0

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise _Refusal(_BAD, "the service is not a proxy")
            return  # it is parsed again
        self._check_head()
        super().on_headers_complete()
        self.headers = []  # for trailers; the application has the other
        self._part = _BODY
        self._size = 0
        self._end = b""

    def _check_head(self) -> None:
        """Refuse what two readers could take for different requests; find the length of the body."""
        names = [name for name, _ in self.headers]
        version = self.parser.get_http_version()
        if b"content-length" in names:
            self._left = int(self.headers[names.index(b"content-length")][1])
        elif b"transfer-encoding" in names:
            values = [value for name, value in self.headers if name == b"transfer-encoding"]
            if version == "1.0" or any(value.strip(b" \t").lower() != b"chunked" for value in values):
                raise _Refusal(_BAD, "the only Transfer-Encoding is chunked, and it needs HTTP/1.1")
        if version not in _VERSIONS:
            raise _Refusal(_BAD, "the service speaks only HTTP/1.1 and HTTP/1.0")
        hosts = names.count(b"host")
        if hosts > 1 or (not hosts and version == "1.1"):
            raise _Refusal(_BAD, "a request needs one header Host")
        if len(self.headers) > _MOST_HEADERS:
            raise _Refusal(_LONG, _MANY)
        if b"#" in self.url:
            raise _Refusal(_BAD, "the request's target has a fragment")

    def on_chunk_header(self) -> None:
        self._work += 1

    def on_body(self, body: bytes) -> None:
        self._size -= (1 + _FREE_AROUND) * len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return  # it is parsed again
        self._part = _BETWEEN
        self._end = b""
        if self._late is not None:
            self._stop_waiting()
        super().on_message_complete()

    # What uvicorn calls when an answer is complete

    def on_response_complete(self) -> None:
        super().on_response_complete()
        # A client that waits for 100 (Continue) may now send the body or not: what comes could be either.
        if self.transport.is_closing() or (self._part == _BODY and self.expect_100_continue):
            self._close()
        elif self._unread:
            self._unset_keepalive_if_required()
            self._next_turn()

    # The end

    def _wait(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(self._seconds, self._too_late)

    def _stop_waiting(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _too_late(self) -> None:
        self._late = None
        if self._part == _BETWEEN:
            self._close()
        else:
            self._refuse(_LATE, f"the request did not arrive within {self._seconds:g} seconds")

    def _refuse(self, status: bytes, detail: str) -> None:
        """Answer the request that is arriving, unless its answer has begun, and end the connection."""
        if self._part != _BODY or not self.cycle.response_started:
            body = msgspec.json.encode(ErrorAnswer(detail))
            head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
            self.transport.write(head % (status, len(body)) + body)
        if self._owed:  # it must not answer as well
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._close()

    def _close(self) -> None:
        """Close the connection, which takes until the client has what was written, but not for ever."""
        self.transport.close()
        if self.transport.get_write_buffer_size():
            self._abort_later()

    def _abort_later(self) -> None:
        if self._unsent is None:
            self._unsent = self.loop.call_later(self._seconds, self.transport.abort)
