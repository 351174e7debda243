"""HTTP/1.1 with bounds on the memory and time that an unknown client can take.

The states of a connection, and what moves it from one to the next:

            first byte          blank line         last byte
    BETWEEN ─────────▶ HEAD ─────────────▶ BODY ─────────────▶ OWED ───▶ BETWEEN
                         │                   │                       answer complete
                         │ 400, 408, 431     │ the same, but no answer if one has begun
                         └──────▶ closed ◀───┘

OWED is BETWEEN while `cycle` has an answer to give; what arrives meanwhile waits in `_unread`. A body whose
answer is complete before the body is (401, 413) is read and dropped, and then no answer is owed. Two timers may run:
`_late` while a request is awaited (in all states but OWED), and `_unsent` while the client does not take what was
written.

What this file works around in httptools 0.9; each part can go when upstream has a bound of its own:

- The parser cannot stop by itself, and what follows a request has to wait until it is answered. So it is fed up to the
  next blank line, where each head and each chunked body ends, or up to the end of a body of known length.
- llhttp passes over empty lines before a request without a bound. Here they are counted, and it gets none of them.
- httptools ends a request that offers an upgrade at its head and parses its body as the next request (httptools issue
  124, uvicorn issue 2722). Here such a head is parsed again without the offer, which may be ignored (RFC 9110, 7.8).
"""

import asyncio
from typing import Any, Final

from httptools import HttpParserError, HttpParserUpgrade

from app.http.connection import BETWEEN, BODY, HEAD, Connection
from app.http.heads import BAD, LONG, LONGEST_HEAD, MANY, MOST_EMPTY, MOST_HEADERS, Heads, Refusal, read_head

__all__ = ["HttpProtocol"]

# A chunked body may have this many bytes around its chunks, per byte within them: enough for chunks of one byte.
_FREE_AROUND: Final = 8
# Reading pauses when more than this waits for an answer to be given. The read that exceeds it is kept.
_MOST_UNREAD: Final = 16_384
# The parser is given at most this much of a head or a chunked body at once.
_PIECE: Final = 2_048
# Pieces and chunks of a connection in one turn of the event loop: less than a millisecond.
_MOST_WORK: Final = 256
_LINE_END: Final = b"\r\n"
_BLANK_LINE: Final = _LINE_END * 2
_heads: Final = Heads()  # of all connections of this process


class HttpProtocol(Connection):
    """Reads one request of a connection at a time, within bounds.

    A request must begin within `seconds` of the connection and arrive within `seconds` of its first byte, and what is
    written must be taken within `seconds`. A head has at most 64 KiB and 128 headers, after 1 KiB of empty lines.
    """

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self._target, self._headers = b"", list[tuple[bytes, bytes]]()
        self._unread, self._at = b"", 0  # the bytes of `_unread` before `_at` are parsed
        self._size = 0  # bytes of empty lines before the head, of the head, or around chunks
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
        at = 0
        if self._unread:
            data = self._unread[self._at :] + data
        elif (at := self._read_whole(data)) == len(data):
            return
        self._unread, self._at = data, at
        if self._turn is None:
            self._read_on()

    def _read_whole(self, data: bytes) -> int:
        """Parse a head and its body, if `data` is both and nothing else. Returns how many bytes are done with.

        Nearly every request arrives like this, and it costs half of what `_read_on` would.
        """
        at = data.find(_BLANK_LINE, 0, _PIECE)
        free = self._part == BETWEEN and self.cycle.complete and self._turn is None
        if at < 0 or not free or data[0] in _LINE_END:
            return 0
        end = at + len(_BLANK_LINE)
        text, rest = data[:end], len(data) - end
        if (known := _heads.get(text) or _heads.like(text)) is not None and rest == known.length:
            self._stop_waiting()
            self._size = 0
            self._begin(known, data[end:])
            return len(data)
        if not self._parse(text):
            return len(data)
        if rest and rest == self._left:
            self._left = 0
            if self._parse(data[end:]):
                _heads.note(text, self.head)
            return len(data)
        if self._part != BETWEEN:
            self._wait()
        return end

    def _read_on(self) -> None:
        """Parse what arrived, until the next request has to wait for an answer or this turn's work is done."""
        self._turn, self._work, busy = None, 0, False
        while self._at < len(self._unread) and (self._part != BETWEEN or self.cycle.complete):
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
        self.hold(busy or left > _MOST_UNREAD)
        if self._part != BETWEEN or self.cycle.complete:
            self._wait()

    def _step(self) -> bool:
        """Parse the next piece of `_unread`. Returns whether the connection goes on."""
        self._work += 1
        start, left, part = self._at, self._left, self._part
        if part == BETWEEN and self._unread[start] in _LINE_END:
            return self._skip_empty()
        self._at = end = min(len(self._unread), start + left) if left else self._cut()
        piece = self._unread[start:end]  # a slice of all of it does not copy
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
            lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self._target, version)]
            lines += [b"%b: %b" % (name, value) for name, value in self._headers if name != b"upgrade"]
            self._make_parser()
            return self._parse(_LINE_END.join(lines) + _BLANK_LINE)
        except HttpParserError as error:
            raised = error.__context__  # by a callback
            refusal = raised if isinstance(raised, Refusal) else Refusal(BAD, "the request is not HTTP")
            self._refuse(refusal.status, refusal.detail)
            return False
        return True

    def _measure(self, piece: bytes) -> None:
        """Count a parsed piece of a head or a chunked body that is not complete."""
        self._end = (self._end + piece[-3:])[-3:]
        self._size = max(0, self._size + len(piece))
        if self._size > LONGEST_HEAD:
            what = "headers" if self._part == HEAD else "trailers and chunk extensions"
            self._refuse(LONG, f"the {what} are longer than {LONGEST_HEAD} bytes")
        elif self._part == HEAD and len(self._headers) > MOST_HEADERS:
            self._refuse(LONG, MANY)

    def _enter(self, part: int) -> None:
        self._part, self._size, self._end = part, 0, b""

    # What the parser calls, and after its callbacks the cycle

    def on_message_begin(self) -> None:
        if not self.cycle.complete:  # `_cut` and `_read_on` prevent it: two requests would share a cycle
            raise Refusal(BAD, "the previous request is not answered yet")
        self._stop_waiting()
        self._target, self._headers = b"", []
        self._enter(HEAD)

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        parser, method = self.parser, self.parser.get_method()
        if parser.should_upgrade():
            if method == b"CONNECT":
                raise Refusal(BAD, "the service is not a proxy")
            return  # `_parse` parses it again
        version, keep_alive = parser.get_http_version(), parser.should_keep_alive()
        head = read_head(method, self._target, version, self._headers, keep_alive=keep_alive)
        self._left, self._headers = head.length, []  # trailers go there and are not read
        self._begin(head)
        self._enter(BODY)

    def on_chunk_header(self) -> None:
        self._work += 1

    def on_body(self, body: bytes) -> None:
        self._size -= (1 + _FREE_AROUND) * len(body)
        self.cycle.feed(body, more=True)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return  # `_parse` parses it again
        self._enter(BETWEEN)
        self._stop_waiting()
        self.cycle.feed(b"", more=False)
        if self.cycle.complete and not self.cycle.keep_alive:
            self._close()

    def on_answer(self) -> None:
        super().on_answer()
        # A client that waits for 100 (Continue) may send the body now or the next request; the two look alike.
        if self.transport.is_closing() or (self._part == BODY and self.head.expects):
            self._close()
        elif self._unread:
            self._next_turn()
