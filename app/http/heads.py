"""Heads of requests: what they say, which are refused, and with which status."""

from collections.abc import Sequence
from typing import Final
from urllib.parse import unquote

import msgspec
from httptools import parse_url

__all__ = [
    "BAD",
    "LATE",
    "LONG",
    "LONGEST_HEAD",
    "MANY",
    "MOST_EMPTY",
    "MOST_HEADERS",
    "Head",
    "Heads",
    "Refusal",
    "read_head",
]

# The request line and headers together. Load balancers pass on less.
LONGEST_HEAD: Final = 65_536
MOST_HEADERS: Final = 128
# Bytes of empty lines before a request. RFC 9112, 2.2, asks a server to pass over at least one.
MOST_EMPTY: Final = 1_024

BAD: Final = b"400 Bad Request"
LATE: Final = b"408 Request Timeout"
LONG: Final = b"431 Request Header Fields Too Large"
MANY: Final = f"there are more than {MOST_HEADERS} headers"

_VERSIONS: Final = ("1.1", "1.0")
# Heads that are kept, each of at most 2 KiB, and heads of which it is known that they came once.
_MOST_KEPT: Final = 512
_MOST_ONCE: Final = 4_096


class Refusal(Exception):
    """A request that is answered with this status and detail, after which the connection ends."""

    def __init__(self, status: bytes, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class Head(msgspec.Struct, frozen=True):
    """What a head says. `length` is that of the body by Content-Length, or 0; names of headers are in lower case.

    `expects`: the client waits for 100 (Continue).
    """

    method: str
    version: str
    path: str
    raw_path: bytes
    query: bytes
    headers: Sequence[tuple[bytes, bytes]]
    length: int
    keep_alive: bool
    expects: bool


def read_head(
    method: bytes, target: bytes, version: str, headers: Sequence[tuple[bytes, bytes]], *, keep_alive: bool
) -> Head:
    """The head of a request that llhttp has parsed.

    Raises Refusal for a head that two readers could take for different requests. llhttp (httptools 0.9) accepts each of
    them: HTTP/0.9 and HTTP/2.0, no Host or two, a transfer coding besides chunked, any in HTTP/1.0, and a fragment.
    """
    length = 0
    names = [name for name, _ in headers]
    if b"content-length" in names:
        length = int(headers[names.index(b"content-length")][1])
    elif b"transfer-encoding" in names:
        values = [value for name, value in headers if name == b"transfer-encoding"]
        if version == "1.0" or any(value.strip(b" \t").lower() != b"chunked" for value in values):
            raise Refusal(BAD, "the only Transfer-Encoding is chunked, and it needs HTTP/1.1")
    if version not in _VERSIONS:
        raise Refusal(BAD, "the service speaks only HTTP/1.1 and HTTP/1.0")
    hosts = names.count(b"host")
    if hosts > 1 or (not hosts and version == "1.1"):
        raise Refusal(BAD, "a request needs exactly one Host header")
    if len(headers) > MOST_HEADERS:
        raise Refusal(LONG, MANY)
    if b"#" in target:
        raise Refusal(BAD, "the request target has a fragment")
    parsed = parse_url(target)
    raw_path = parsed.path or b"/"  # an absolute target may have none
    path = raw_path.decode("ascii")
    return Head(
        method=method.decode("ascii"),
        version=version,
        path=unquote(path) if "%" in path else path,
        raw_path=raw_path,
        query=parsed.query or b"",
        headers=headers,
        length=length,
        keep_alive=keep_alive and version != "1.0",
        expects=b"expect" in names and version != "1.0" and _waits(headers),
    )


def _waits(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    return any(name == b"expect" and value.lower() == b"100-continue" for name, value in headers)


class Heads:
    """Heads that came twice, by their bytes: a client says nearly the same with each request of a connection.

    A parser that has read a head and its body whole stands where it stood, so it need not read the same head again.
    Those that came once are known by their hash only: most of them, with an id in their path or a header, come once.
    """

    def __init__(self) -> None:
        self._kept: dict[bytes, Head] = {}
        self._once: set[int] = set()
        self.get = self._kept.get

    def note(self, text: bytes, head: Head) -> None:
        """A head came, and was followed by the body that it announces and by nothing else."""
        if not head.keep_alive or head.expects:
            return
        seen = hash(text)
        if seen not in self._once:
            if len(self._once) >= _MOST_ONCE:
                self._once.clear()
            self._once.add(seen)
            return
        if len(self._kept) >= _MOST_KEPT:
            self._kept.clear()
        self._kept[text] = head
