"""HTTP/1.1 as uvicorn speaks it, with bounds on the memory and time that an unknown client can take.

The states of a connection, and what moves it from one to the next:

            first byte          blank line         last byte
    BETWEEN ─────────▶ HEAD ─────────────▶ BODY ─────────────▶ OWED ───▶ BETWEEN
                         │                   │                       answer complete
                         │ 400, 408, 431     │ the same, but no answer if one has begun
                         └──────▶ closed ◀───┘

OWED is BETWEEN while uvicorn's `cycle` has an answer to give; what arrives meanwhile waits in `_unread`. A body whose
answer is complete before the body is (401, 413) is read and dropped, and then no answer is owed. Two timers may run:
`_late` while a request is awaited (in all states but OWED), and `_unsent` while the client does not take what was
written.

What this file works around in uvicorn 0.54 and httptools 0.9; each part can go when upstream has a bound of its own:

- uvicorn parses all that arrives and queues the requests in it without a bound (`pipeline`). Here the parser gets bytes
  only up to the end of a request, and the rest waits until that is answered, so `pipeline` stays empty. The parser
  cannot stop by itself: it is fed up to the next blank line, where each head and each chunked body ends, or up to the
  end of a body of known length.
- uvicorn does all the work of one read at once. Here a connection has `_MOST_WORK` pieces and chunks per turn.
- llhttp passes over empty lines before a request without a bound. Here they are counted, and it gets none of them.
- httptools ends a request that offers an upgrade at its head and parses its body as the next request (httptools issue
  124, uvicorn issue 2722). Here such a head is parsed again without the offer, which may be ignored (RFC 9110, 7.8).
- uvicorn adds trailers to the headers of a request that the application is already reading. Here they are dropped.
"""

import asyncio
from typing import Any, Final

from httptools import HttpParserError, HttpParserUpgrade

from app.http.connection import BETWEEN, BODY, HEAD, Connection
from app.http.heads import BAD, LONG, LONGEST_HEAD, MANY, MOST_EMPTY, MOST_HEADERS, Refusal, body_length

__all__ = ["HttpProtocol"]

# A chunked body may have this many bytes around its chunks, per byte within them: enough for chunks of one byte.
_FREE_AROUND: Final = 8
# Reading pauses when more than this waits for an answer to be given. The read that exceeds it is kept.
_MOST_UNREAD: Final = 16_384
# The parser is given at most this much of a head or a chunked body at once.
_PIECE: Final = 2_048
# Pieces and chunks in one turn of the event loop: less than a millisecond.
_MOST_WORK: Final = 256
_LINE_END: Final = b"\r\n"
_BLANK_LINE: Final = _LINE_END * 2


class HttpProtocol(Connection):
    """Reads one request of a connection at a time, within bounds.

    A request must begin within `seconds` of the connection and arrive within `seconds` of its first byte, and what is
    written must be taken within `seconds`. A head has at most 64 KiB and 128 headers, after 1 KiB of empty lines.
    """

    def __init__(self, *args: Any, seconds: float, **keywords: Any) -> None:
        super().__init__(*args, seconds=seconds, **keywords)
        self._unread = b""
        self._at = 0  # the bytes of `_unread` before this are parsed
        self._size = 0  # bytes of empty lines before the head, of the head, or around the chunks of a body
        self._left = 0  # bytes of a body of known length that have not arrived
        self._end = b""  # the last bytes parsed of a head or a chunked body, where a blank line may have begun
        self._work = 0  # in this turn
        self._turn: asyncio.Handle | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        if self._turn is not None:
            self._turn.cancel()
        self._unread, self._at = b"", 0
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        at = 0
        if self._unread:
            data = self._unread[self._at :] + data
        elif self._part == BETWEEN and data[0] not in _LINE_END and not (self._turn or self._owed):
            at = self._read_whole(data)
            if at == len(data):
                return
        self._unread, self._at = data, at
        if self._turn is None:
            self._read_on()

    def _read_whole(self, data: bytes) -> int:
        """Parse a head and its body, if `data` is both and nothing else. Returns how many bytes are done with.

        Nearly every request arrives like this, and it costs half of what `_read_on` would.
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
        if self._part != BETWEEN:
            self._wait()
        return end

    def _read_on(self) -> None:
        """Parse what arrived, until the next request has to wait for an answer or this turn's work is done."""
        self._turn = None
        self._work = 0
        busy = False
        while self._at < len(self._unread) and not (self._part == BETWEEN and self._owed):
            if self.transport.is_closing():
                self._unread = b""
                return
            if busy := self._work > _MOST_WORK:
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
        if self._part != BETWEEN or not self._owed:
            self._wait()

    def _step(self) -> bool:
        """Parse the next piece of `_unread`. Returns whether the connection goes on."""
        self._work += 1
        start, left, part = self._at, self._left, self._part
        if part == BETWEEN and self._unread[start] in _LINE_END:
            return self._skip_empty()
        self._at = end = min(len(self._unread), start + left) if left else self._cut()
        piece = self._unread[start:end]  # a slice of all of it is no copy
        if not self._parse(piece):
            return False
        if left:
            self._left = left - len(piece)
        elif self._part == HEAD or (self._part == BODY and part == BODY):
            self._measure(piece)
        return True

    def _skip_empty(self) -> bool:
        """Pass over empty lines before a request. Returns False after refusing too many."""
        lines = self._unread[self._at : self._at + MOST_EMPTY + 1]
        count = len(lines) - len(lines.lstrip(_LINE_END))
        self._at += count
        self._size += count
        if self._size > MOST_EMPTY:
            self._refuse(BAD, f"the empty lines before the request are longer than {MOST_EMPTY} bytes")
        return self._size <= MOST_EMPTY

    def _next_turn(self) -> None:
        if self._turn is None:
            self._turn = self.loop.call_soon(self._read_on, context=self._context)

    def _cut(self) -> int:
        """Where in `_unread` to stop parsing: never beyond the end of the request."""
        data, start = self._unread, self._at
        if self._end:
            crossing = (self._end + data[start : start + 3]).find(_BLANK_LINE)
            if crossing >= 0:
                return start + crossing + len(_BLANK_LINE) - len(self._end)
        blank = data.find(_BLANK_LINE, start, start + _PIECE)
        return blank + len(_BLANK_LINE) if blank >= 0 else min(len(data), start + _PIECE)

    def _parse(self, piece: bytes) -> bool:
        """Feed the parser. Returns False after refusing what it cannot take."""
        try:
            self.parser.feed_data(piece)
        except HttpParserUpgrade:
            # The piece ended with the head. The new parser reads it like any other, and then the body.
            version = self.parser.get_http_version().encode()
            lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)]
            lines += [b"%b: %b" % (name, value) for name, value in self.headers if name != b"upgrade"]
            self._make_parser()
            return self._parse(_LINE_END.join(lines) + _BLANK_LINE)
        except HttpParserError as error:
            cause = error.__context__  # what a callback raised
            if isinstance(cause, Refusal):
                self._refuse(cause.status, cause.detail)
            else:
                self._refuse(BAD, "the request is not HTTP")
            return False
        return True

    def _measure(self, piece: bytes) -> None:
        """Count a parsed piece of a head or a chunked body that is not complete."""
        self._end = (self._end + piece[-3:])[-3:]
        self._size = max(0, self._size + len(piece))
        if self._size > LONGEST_HEAD:
            what = "headers" if self._part == HEAD else "trailers and chunk extensions"
            self._refuse(LONG, f"the {what} are longer than {LONGEST_HEAD} bytes")
        elif self._part == HEAD and len(self.headers) > MOST_HEADERS:
            self._refuse(LONG, MANY)

    # Callbacks of the parser

    def on_message_begin(self) -> None:
        if self._owed:  # `_cut` and `_read_on` prevent it; were they wrong, two requests would share a cycle
            raise Refusal(BAD, "the previous request is not answered yet")
        if self._late is not None:
            self._stop_waiting()
        super().on_message_begin()
        self._part = HEAD
        self._size = 0

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise Refusal(BAD, "the service is not a proxy")
            return  # `_parse` parses it again
        self._left = body_length(self.headers, self.parser.get_http_version(), self.url)
        super().on_headers_complete()
        self.headers = []  # trailers go here; the application has the other list
        self._part = BODY
        self._size = 0
        self._end = b""

    def on_chunk_header(self) -> None:
        self._work += 1

    def on_body(self, body: bytes) -> None:
        self._size -= (1 + _FREE_AROUND) * len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return  # `_parse` parses it again
        self._part = BETWEEN
        self._size = 0
        self._end = b""
        if self._late is not None:
            self._stop_waiting()
        super().on_message_complete()

    # Callback of uvicorn's cycle

    def on_response_complete(self) -> None:
        super().on_response_complete()
        # A client that waits for 100 (Continue) may send the body now or the next request: there is no telling which.
        if self.transport.is_closing() or (self._part == BODY and self.expect_100_continue):
            self._close()
        elif self._unread:
            self._unset_keepalive_if_required()
            self._next_turn()
