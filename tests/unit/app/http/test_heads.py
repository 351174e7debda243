"""What heads say, and those that are refused, since two readers could take them for different requests."""

from collections.abc import MutableMapping

import pytest

from app.http import heads
from app.http.heads import Head, Heads, Refusal, by_name, read_head

HOST = (b"host", b"x")
CHUNKED = (b"transfer-encoding", b"chunked")


def read(headers: list[tuple[bytes, bytes]], version: str = "1.1", target: bytes = b"/a") -> Head:
    return read_head(b"POST", target, version, headers, keep_alive=True)


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
    assert read(headers, version).length == length


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
        read(headers, version, target)
    assert caught.value.status.startswith(b"%d " % status)


@pytest.mark.parametrize(
    ("target", "path", "raw", "query"),
    [
        (b"/a%2Fb?x=1&y", "/a/b", b"/a%2Fb", b"x=1&y"),
        (b"/", "/", b"/", b""),
        (b"http://there:1/a?b", "/a", b"/a", b"b"),  # as to a proxy
        (b"http://there?b", "/", b"/", b"b"),
    ],
)
def test_the_target_is_a_path_and_a_query(target: bytes, path: str, raw: bytes, query: bytes) -> None:
    """The path is decoded, and kept as it came too."""
    scope = read([HOST], target=target).scope
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == (path, raw, query)


def test_headers_by_name() -> None:
    """The last one of each name, as in the scope of another server; no request can change them for the next one."""
    headers = [HOST, (b"a", b"1"), (b"a", b"2")]
    found = by_name(read(headers).scope)
    assert found == by_name({"headers": headers}) == {b"host": b"x", b"a": b"2"}
    assert not isinstance(found, MutableMapping)
    assert by_name(read([], "1.0").scope) == {}


def test_a_connection_is_kept_from_http_1_1_on() -> None:
    """Whatever a client of HTTP/1.0 says."""
    assert read([HOST]).keep_alive
    assert not read([HOST], "1.0").keep_alive


@pytest.mark.parametrize("value", [b"100-continue", b"100-Continue"])
def test_a_client_may_wait_for_100(value: bytes) -> None:
    """In any case of letters, from HTTP/1.1 on."""
    assert read([HOST, (b"expect", value)]).expects
    assert not read([HOST, (b"expect", b"tea")]).expects
    assert not read([HOST, (b"expect", value)], "1.0").expects


def test_heads_that_come_twice_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not those that come once, nor those after which a connection may end, and never more than a bound."""
    monkeypatch.setattr(heads, "_MOST_KEPT", 2)
    monkeypatch.setattr(heads, "_MOST_ONCE", 3)
    kept, head = Heads(), read([HOST])
    kept.note(b"a", head)
    assert kept.get(b"a") is None
    kept.note(b"a", head)
    assert kept.get(b"a") is head
    for text in (b"b", b"b", b"c", b"c"):
        kept.note(text, head)
    assert [text for text in (b"a", b"b", b"c") if kept.get(text)] == [b"c"]
    for text in (b"d", b"e", b"f", b"g", b"d"):  # of `d` it is not known any more that it came
        kept.note(text, head)
    assert kept.get(b"d") is None
    for other in (read([HOST], "1.0"), read([HOST, (b"expect", b"100-continue")])):
        kept.note(b"g", other)
        kept.note(b"g", other)
    assert kept.get(b"g") is None


REST = b" HTTP/1.1\r\nhost: x\r\n\r\n"


def noted(*targets: bytes) -> Heads:
    """What knows heads that came with these targets."""
    heads_ = Heads()
    for target in targets:
        heads_.note(b"POST " + target + REST, read([HOST], target=target))
    return heads_


def test_a_head_with_another_target() -> None:
    """Says what it would say if it were parsed, once two that differ in no more have come."""
    known, text = noted(b"/a/1/c", b"/a/2/c"), b"POST /a/3~:@.x-_/c" + REST
    for _ in range(3):
        assert known.like(text) == read([HOST], target=b"/a/3~:@.x-_/c")
        assert known.get(text) is None


def test_of_a_target_that_comes_again_and_again_all_heads_are_kept() -> None:
    """One with other headers is kept when it comes for the first time, if it is known but for its target."""
    known, other = noted(b"/a/1", b"/a/2"), b"POST /b HTTP/1.1\r\nhost: z\r\n\r\n"
    for _ in range(2):
        known.note(other, read([(b"host", b"z")], target=b"/b"))
    assert known.like(b"POST /b" + REST) == known.get(b"POST /b" + REST) == read([HOST], target=b"/b")


@pytest.mark.parametrize(
    "text",
    [
        b"GET /a" + REST,
        b"POST /a HTTP/1.0\r\nhost: x\r\n\r\n",
        b"POST /a HTTP/1.1\r\nhost: y\r\n\r\n",
        *(
            b"POST " + target + REST
            for target in (b"/a?b", b"/a#b", b"/%61", b"//a", b"/a/", b"a", b"*", b"", b"/\xff")
        ),
        b"POST  /a" + REST,
        b"POST /a",
        b"",
    ],
)
def test_what_says_more_than_another_path_is_parsed(text: bytes) -> None:
    """Another method, version or header, and a target that is not a plain path, or not well spelt."""
    assert noted(b"/a/1", b"/a/2").like(text) is None


def test_of_heads_with_odd_targets_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor of those that came once; and what is kept is bounded."""
    text = b"POST /a" + REST
    assert noted(b"/a/1").like(text) is None
    assert noted(b"/a?1", b"/a?2", b"//x", b"//y").like(text) is None
    monkeypatch.setattr(heads, "_MOST_KEPT", 1)
    known = noted(b"/a/1", b"/a/2")
    for number in (b"1", b"2"):
        other = [HOST, (b"content-length", number)]
        known.note(b"POST /a/%b HTTP/1.1\r\n\r\n" % number, read(other))
    assert known.like(text) is None
    assert known.like(b"POST /a HTTP/1.1\r\n\r\n") is not None
