"""Heads that are refused, since two readers could take them for different requests."""

import pytest

from app.http.heads import Refusal, body_length

HOST = (b"host", b"x")
CHUNKED = (b"transfer-encoding", b"chunked")


@pytest.mark.parametrize(
    ("headers", "version", "length"),
    [
        ([HOST], "1.1", 0),
        ([], "1.0", 0),
        ([HOST, (b"content-length", b"12")], "1.1", 12),
        ([HOST, CHUNKED], "1.1", 0),
        ([HOST, (b"transfer-encoding", b"\tChunked ")], "1.1", 0),
        ([HOST, *[(b"x", b"y")] * 127], "1.1", 0),
    ],
)
def test_what_is_accepted(headers: list[tuple[bytes, bytes]], version: str, length: int) -> None:
    """The length is that of Content-Length, and 0 for a chunked body."""
    assert body_length(headers, version, b"/a") == length


@pytest.mark.parametrize(
    ("headers", "version", "target", "status", "detail"),
    [
        ([HOST, (b"transfer-encoding", b"gzip, chunked")], "1.1", b"/", 400, "the only Transfer-Encoding is chunked"),
        ([HOST, CHUNKED, (b"transfer-encoding", b"gzip")], "1.1", b"/", 400, "the only Transfer-Encoding is chunked"),
        ([HOST, CHUNKED], "1.0", b"/", 400, "it needs HTTP/1.1"),
        ([HOST], "0.9", b"/", 400, "speaks only HTTP/1.1 and HTTP/1.0"),
        ([HOST], "2.0", b"/", 400, "speaks only HTTP/1.1 and HTTP/1.0"),
        ([], "1.1", b"/", 400, "exactly one Host header"),
        ([HOST, HOST], "1.1", b"/", 400, "exactly one Host header"),
        ([HOST, HOST], "1.0", b"/", 400, "exactly one Host header"),
        ([HOST, *[(b"x", b"y")] * 128], "1.1", b"/", 431, "more than 128 headers"),
        ([HOST], "1.1", b"/a#b", 400, "has a fragment"),
    ],
)
def test_what_is_refused(
    headers: list[tuple[bytes, bytes]], version: str, target: bytes, status: int, detail: str
) -> None:
    """The reason is told."""
    with pytest.raises(Refusal, match=detail) as caught:
        body_length(headers, version, target)
    assert caught.value.status.startswith(b"%d " % status)
