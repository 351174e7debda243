"""Heads of requests: what they say, which are refused, and with which status."""

import re
from collections.abc import Hashable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final
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
    "by_name",
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

# Not ASGI's: where a scope has its headers by name, as all requests with the same head have them.
_BY_NAME: Final = "oo.headers"
_VERSIONS: Final = ("1.1", "1.0")
# The method, the target and the rest of a head whose target llhttp takes, and that says nothing but a path.
_PLAIN: Final = re.compile(rb"([A-Z]+) ((?:/[A-Za-z0-9._~:@-]+)+) (.*)", re.DOTALL)
# Heads that are kept, each of at most 2 KiB, as many that are kept without their target, and heads of which it is known
# that they came once.
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

    `scope` is what it says to ASGI, beside the headers. `expects`: the client waits for 100 (Continue).
    """

    scope: dict[str, Any]
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
        scope={
            "http_version": version,
            "method": method.decode("ascii"),
            "path": unquote(path) if "%" in path else path,
            "raw_path": raw_path,
            "query_string": parsed.query or b"",
            _BY_NAME: MappingProxyType(dict(headers)),
        },
        headers=headers,
        length=length,
        keep_alive=keep_alive and version != "1.0",
        expects=b"expect" in names and version != "1.0" and _waits(headers),
    )


def by_name(scope: Any) -> Mapping[bytes, bytes]:
    """The headers of a request by name; of several with one name the last."""
    known: Mapping[bytes, bytes] | None = scope.get(_BY_NAME)
    return dict(scope["headers"]) if known is None else known


def _waits(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    return any(name == b"expect" and value.lower() == b"100-continue" for name, value in headers)


class Heads:
    """Heads that came twice, by their bytes: a client says nearly the same with each request of a connection.

    A parser that has read a head and its body whole stands where it stood, so it need not read the same head again, nor
    one that has only another plain target, as with an id in its path. Those that came once are known by their hash
    only: most of them, with an id in a header, come once.
    """

    def __init__(self) -> None:
        self._kept: dict[bytes, Head] = {}
        self._but_target: dict[tuple[bytes, bytes], Head] = {}
        self._once: set[int] = set()
        self._usual: set[bytes] = set()  # targets of kept heads: it pays to keep another head with one of them
        self.get = self._kept.get

    def like(self, text: bytes) -> Head | None:
        """What a head says of which the same came with another target; None if that is not known."""
        found = _PLAIN.fullmatch(text)
        if found is None:
            return None
        method, target, rest = found.groups()
        other = self._but_target.get((method, rest))
        if other is None:
            return None
        scope = {**other.scope, "path": target.decode("ascii"), "raw_path": target, "query_string": b""}
        head = Head(scope, other.headers, other.length, other.keep_alive, other.expects)
        if target in self._usual:
            self._keep(text, head)
        return head

    def note(self, text: bytes, head: Head) -> None:
        """A head came, and was followed by the body that it announces and by nothing else."""
        if not head.keep_alive or head.expects:
            return
        if self._came_before(text):
            self._keep(text, head)
        found = _PLAIN.fullmatch(text)
        if found is not None and self._came_before(but_target := (found[1], found[3])):
            if len(self._but_target) >= _MOST_KEPT:
                self._but_target.clear()
            self._but_target[but_target] = head

    def _keep(self, text: bytes, head: Head) -> None:
        if len(self._kept) >= _MOST_KEPT:
            self._kept.clear()
            self._usual.clear()
        self._kept[text] = head
        self._usual.add(head.scope["raw_path"])

    def _came_before(self, what: Hashable) -> bool:
        """Whether it came before, or another of the same hash; it has come now."""
        seen, once = hash(what), self._once
        if seen in once:
            return True
        if len(once) >= _MOST_ONCE:
            once.clear()
        once.add(seen)
        return False
