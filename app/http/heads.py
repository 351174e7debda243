"""Which heads of requests are refused, and with which status."""

from collections.abc import Sequence
from typing import Final

__all__ = ["BAD", "LATE", "LONG", "LONGEST_HEAD", "MANY", "MOST_EMPTY", "MOST_HEADERS", "Refusal", "body_length"]

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


class Refusal(Exception):
    """A request that is answered with this status and detail, after which the connection ends."""

    def __init__(self, status: bytes, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


def body_length(headers: Sequence[tuple[bytes, bytes]], version: str, target: bytes) -> int:
    """The length of the body by Content-Length, or 0. Header names are in lower case.

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
    return length
