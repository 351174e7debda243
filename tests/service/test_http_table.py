"""What the service does with each shape of HTTP, from plain to hostile: one table, on a real socket and behind proxies.

RFC 9112 says what is a request; where it leaves a choice, the service refuses what two readers could take for different
requests. Each row is sent with a last request after it on the same connection, so an answer too many or too few shows.
"""

import json
import secrets
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import httpx
import pytest

from tests.support.bodies import reward
from tests.support.processes import Server
from tests.support.proxies import haproxy, nginx
from tests.support.redis_servers import RedisServer
from tests.support.service import service
from tests.support.waiting import until


class Row(NamedTuple):
    """What is sent, the status of each answer to it, and whether the connection serves the next request."""

    name: str
    sent: bytes
    statuses: list[int]
    kept: bool


# The last request on each connection; no row is answered so.
LAST = b"GET /features/last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
# A reward that is taken, and what a stranger would like to have run.
BODY = json.dumps(reward("bob")).encode()
EVIL = b"POST /reset/ann HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
POST = b"POST /reward HTTP/1.1\r\nHost: x\r\n"
GET = b"GET /prompts HTTP/1.1\r\nHost: x\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
CHUNKED = b"Transfer-Encoding: chunked\r\n"
CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
# What curl --http2 and a JDK's HttpClient offer with each request.
H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk\r\n"
WEBSOCKET = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n"


def evil(head: bytes) -> bytes:
    """A POST whose body, of the length that is said, is a request."""
    return head + b"Content-Length: %d\r\n\r\n" % len(EVIL) + EVIL


def chunked(body: bytes) -> bytes:
    return POST + CHUNKED + b"\r\n" + body


def chunk(data: bytes, extension: bytes = b"") -> bytes:
    return b"%x%b\r\n%b\r\n" % (len(data), extension, data)


def get(target: bytes) -> bytes:
    return b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % target


END = b"0\r\n\r\n"

PLAIN = [
    Row("GET", GET + b"\r\n", [200], kept=True),
    Row("HEAD", b"HEAD /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", [404], kept=False),
    Row("GET with a body", GET + evil(b""), [200], kept=True),
    Row("Content-Length", POST + LENGTH + b"\r\n" + BODY, [200], kept=True),
    Row("chunked", chunked(CHUNKS), [200], kept=True),
    Row("chunks of one byte", chunked(b"".join(chunk(b"%c" % byte) for byte in BODY) + END), [200], kept=True),
    Row("no body", POST + b"\r\n", [422], kept=True),
    Row("a request as body", evil(POST), [422], kept=True),
    Row("three at once", (GET + b"\r\n") * 2 + POST + LENGTH + b"\r\n" + BODY, [200, 200, 200], kept=True),
    Row("a hundred at once", (GET + b"\r\n") * 100, [200] * 100, kept=True),
    Row("empty lines before it", b"\r\n\r\n\r\n" + GET + b"\r\n", [200], kept=True),
    Row("empty lines of 1 KiB before it", b"\r\n" * 512 + GET + b"\r\n", [200], kept=True),
    Row("empty lines of 1 KiB before each of two", (b"\r\n" * 512 + GET + b"\r\n") * 2, [200, 200], kept=True),
    Row("empty lines of more than 1 KiB", b"\r\n" * 512 + b"\n" + GET + b"\r\n", [400], kept=False),
    Row("as many after a request", POST + LENGTH + b"\r\n" + BODY + b"\r\n" * 513, [200, 400], kept=False),
    Row("Connection: close", GET + b"Connection: close\r\n\r\n", [200], kept=False),
    Row("Proxy-Connection: close", GET + b"Proxy-Connection: close\r\n\r\n", [200], kept=False),
    Row("HTTP/1.0", b"GET /prompts HTTP/1.0\r\n\r\n", [200], kept=False),
    Row("HTTP/1.0, keep-alive", b"GET /prompts HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", [200], kept=False),
    Row("HTTP/1.0 with a body", b"POST /reward HTTP/1.0\r\n" + LENGTH + b"\r\n" + BODY, [200], kept=False),
    Row(
        "HTTP/1.0 with Expect",
        b"POST /reward HTTP/1.0\r\nExpect: 100-continue\r\n" + LENGTH + b"\r\n" + BODY,
        [200],
        kept=False,
    ),
    Row("Expect", POST + LENGTH + b"Expect: 100-continue\r\n\r\n" + BODY, [100, 200], kept=True),
    Row("Expect of a GET", GET + b"Expect: 100-continue\r\n\r\n", [200], kept=True),
    Row("Expect of something else", POST + LENGTH + b"Expect: tea\r\n\r\n" + BODY, [200], kept=True),
    Row("128 headers", GET + b"x: y\r\n" * 127 + b"\r\n", [200], kept=True),
    Row("129 headers", GET + b"x: y\r\n" * 128 + b"\r\n", [431], kept=False),
    Row("a target of 60,000 bytes", get(b"/" + b"x" * 60_000), [404], kept=True),
    Row("a target of 70,000 bytes", get(b"/" + b"x" * 70_000), [431], kept=False),
]

# An offer that is not taken is as if it was not made (RFC 9110, 7.8).
UPGRADES = [
    *(
        Row(f"{name}, {row.name}", row.sent.replace(b"OFFER\r\n", offer), row.statuses, kept=row.kept)
        for name, offer in {
            "h2c": H2C,
            "websocket": WEBSOCKET,
            "x": b"Upgrade: x\r\nConnection: x, UPGRADE\r\n",
        }.items()
        for row in (
            Row("GET", GET + b"OFFER\r\n\r\n", [200], kept=True),
            Row("Content-Length", POST + b"OFFER\r\n" + LENGTH + b"\r\n" + BODY, [200], kept=True),
            Row("chunked", POST + b"OFFER\r\n" + CHUNKED + b"\r\n" + CHUNKS, [200], kept=True),
            Row("a request as body", evil(POST + b"OFFER\r\n"), [422], kept=True),
            Row("twice", (POST + b"OFFER\r\n" + LENGTH + b"\r\n" + BODY) * 2, [200, 200], kept=True),
            Row("Expect", POST + b"OFFER\r\nExpect: 100-continue\r\n" + LENGTH + b"\r\n" + BODY, [100, 200], kept=True),
            Row("Connection: close", GET + b"OFFER\r\nConnection: close\r\n\r\n", [200], kept=False),
            Row("both lengths", POST + b"OFFER\r\n" + LENGTH + CHUNKED + b"\r\n" + CHUNKS, [400], kept=False),
            Row("gzip", POST + b"OFFER\r\nTransfer-Encoding: gzip\r\n\r\n" + EVIL, [400], kept=False),
        )
    ),
    Row("in a trailer", chunked(chunk(BODY) + b"0\r\n" + WEBSOCKET + b"\r\n"), [200], kept=True),
    Row("HTTP/1.0", b"POST /reward HTTP/1.0\r\n" + H2C + LENGTH + b"\r\n" + BODY, [200], kept=False),
    Row("CONNECT", b"CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n" + GET + b"\r\n", [400], kept=False),
    Row("CONNECT of a path", evil(b"CONNECT /reset/ann HTTP/1.1\r\nHost: x\r\n"), [400], kept=False),
    Row("HTTP/2 at once", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [400], kept=False),
]


def lengths(*values: bytes) -> bytes:
    return POST + b"".join(b"Content-Length: %b\r\n" % value for value in values) + b"\r\n" + BODY


def encodings(*values: bytes, version: bytes = b"1.1") -> bytes:
    head = POST.replace(b"1.1", version) + b"".join(b"Transfer-Encoding: %b\r\n" % value for value in values)
    return head + b"\r\n" + CHUNKS


N = b"%d" % len(BODY)

# Where a body ends must have one reading (RFC 9112, 6).
LENGTHS = [
    Row("Content-Length and chunked", POST + LENGTH + CHUNKED + b"\r\n" + CHUNKS, [400], kept=False),
    Row("chunked and Content-Length", POST + CHUNKED + LENGTH + b"\r\n" + CHUNKS, [400], kept=False),
    Row("twice the same", lengths(N, N), [400], kept=False),
    Row("two lengths", lengths(N, b"0"), [400], kept=False),
    Row("a list", lengths(N + b", " + N), [400], kept=False),
    Row("+", lengths(b"+" + N), [400], kept=False),
    Row("negative", lengths(b"-1"), [400], kept=False),
    Row("hexadecimal", lengths(b"0x" + N), [400], kept=False),
    Row("with zeros before it", lengths(b"00" + N), [200], kept=True),
    Row("blanks around it", lengths(b" \t" + N + b" \t"), [200], kept=True),
    Row("blanks in it", lengths(b"1 2"), [400], kept=False),
    Row("empty", lengths(b""), [400], kept=False),
    Row("huge", lengths(b"9" * 30), [400], kept=False),
    Row("chunked, in capitals", encodings(b"Chunked"), [200], kept=True),
    Row("blanks around chunked", encodings(b"  chunked  "), [200], kept=True),
    Row("a tab before chunked", encodings(b"\tchunked"), [200], kept=True),
    Row("a tab after chunked", encodings(b"chunked\t"), [400], kept=False),
    *(
        Row(f"Transfer-Encoding: {value!r}", encodings(value), [400], kept=False)
        for value in (
            *(b"identity", b"gzip", b"gzip, chunked", b"chunked, gzip", b"chunked, chunked", b"xchunked", b"chunkedx"),
            *(b'"chunked"', b"chunked;q=1", b"\x0bchunked", b"chunked\x00", b"", b","),
        )
    ),
    Row("chunked and identity", encodings(b"chunked", b"identity"), [400], kept=False),
    Row("chunked twice", encodings(b"chunked", b"chunked"), [400], kept=False),
    Row("chunked in HTTP/1.0", encodings(b"chunked", version=b"1.0"), [400], kept=False),
    Row("a blank before the colon", POST + b"Transfer-Encoding : chunked\r\n\r\n" + CHUNKS, [400], kept=False),
    Row("a tab before the colon", POST + b"Content-Length\t: 5\r\n\r\nhello", [400], kept=False),
    Row("an underscore", POST + LENGTH + b"Transfer_Encoding: chunked\r\n\r\n" + BODY, [200], kept=True),
    Row("named by Connection", POST + b"Connection: content-length\r\n" + LENGTH + b"\r\n" + BODY, [200], kept=True),
]

# RFC 9112, 7.1. The answer to a body that turns out to be broken is 400; nothing of it was used.
CHUNKS_ROWS = [
    Row("an extension", chunked(chunk(BODY, b";a=b") + END), [200], kept=True),
    Row("a quoted extension", chunked(chunk(BODY, b';a="b"') + END), [200], kept=True),
    Row("an extension of 10,000 bytes", chunked(chunk(BODY, b";a=" + b"x" * 10_000) + END), [200], kept=True),
    Row("an extension of 100,000 bytes", chunked(chunk(BODY, b";a=" + b"x" * 100_000) + END), [431], kept=False),
    Row("many extensions", chunked(chunk(b" ", b";a=" + b"x" * 40) * 2_000 + END), [431], kept=False),
    Row("a line end in an extension", chunked(b"1;a\n{\r\n" + END), [400], kept=False),
    Row("zeros before the size", chunked(b"000" + chunk(BODY) + b"000\r\n\r\n"), [200], kept=True),
    *(
        Row(f"a size {size!r}", chunked(size + b"\r\n{\r\n" + END), [400], kept=False)
        for size in (b"0x1", b"-1", b"+1", b"1 ", b" 1", b"", b"g", b"1,1", b"f" * 17, b"\xb1")
    ),
    Row("data shorter than its size", chunked(b"2\r\n{\r\n" + END), [400], kept=False),
    Row("data longer than its size", chunked(b"1\r\n{}\r\n" + END), [400], kept=False),
    Row("LF for CRLF", chunked(b"1\n{\n0\n\n"), [400], kept=False),
    Row("LF at the end", chunked(b"1\r\n{\r\n0\r\n\n"), [400], kept=False),
    Row("a trailer", chunked(chunk(BODY) + b"0\r\nx: y\r\n\r\n"), [200], kept=True),
    Row("a trailer is not a header", chunked(chunk(BODY) + b"0\r\nIdempotency-Key: no key\r\n\r\n"), [200], kept=True),
    Row(
        "Connection: close in a trailer",
        chunked(chunk(BODY) + b"0\r\nConnection: close\r\n\r\n"),
        [200, 400],
        kept=False,
    ),
    Row("Content-Length in a trailer", chunked(chunk(BODY) + b"0\r\nContent-Length: 5\r\n\r\n"), [400], kept=False),
    Row("chunked in a trailer", chunked(chunk(BODY) + b"0\r\nTransfer-Encoding: chunked\r\n\r\n"), [400], kept=False),
]

# RFC 9112, 2 to 5.
HEADS = [
    Row("no Host", b"GET /prompts HTTP/1.1\r\n\r\n", [400], kept=False),
    Row("an empty Host", b"GET /prompts HTTP/1.1\r\nHost:\r\n\r\n", [200], kept=True),
    Row("two Hosts", GET + b"Host: y\r\n\r\n", [400], kept=False),
    Row("the same Host twice", GET + b"Host: x\r\n\r\n", [400], kept=False),
    Row("two Hosts in HTTP/1.0", b"GET /prompts HTTP/1.0\r\nHost: x\r\nHost: x\r\n\r\n", [400], kept=False),
    Row("a folded line", GET + b"x: y\r\n z\r\n\r\n", [400], kept=False),
    Row("a folded Transfer-Encoding", POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n" + CHUNKS, [400], kept=False),
    Row("a blank before the first header", b"GET /prompts HTTP/1.1\r\n x: y\r\nHost: x\r\n\r\n", [400], kept=False),
    Row("LF for CRLF", b"GET /prompts HTTP/1.1\nHost: x\n\n", [400], kept=False),
    Row("LF after a header", b"GET /prompts HTTP/1.1\r\nHost: x\nx: y\r\n\r\n", [400], kept=False),
    Row("LF for the empty line", b"GET /prompts HTTP/1.1\r\nHost: x\r\n\n", [400], kept=False),
    Row("CR in a header", GET + b"x: y\rz: a\r\n\r\n", [400], kept=False),
    Row("NUL in a name", GET + b"x\0: y\r\n\r\n", [400], kept=False),
    Row("NUL in a value", GET + b"x: \0\r\n\r\n", [400], kept=False),
    Row("NUL in the target", get(b"/prompts\0"), [400], kept=False),
    Row("bytes above 127 in a value", GET + b"x: \xff\r\n\r\n", [200], kept=True),
    Row("a header without a name", GET + b": y\r\n\r\n", [400], kept=False),
    Row("a header without a colon", GET + b"x\r\n\r\n", [400], kept=False),
    Row("HTTP/0.9", b"GET /prompts\r\n\r\n", [400], kept=False),
    Row("HTTP/1.2", b"GET /prompts HTTP/1.2\r\nHost: x\r\n\r\n", [400], kept=False),
    Row("HTTP/2.0", b"GET /prompts HTTP/2.0\r\nHost: x\r\n\r\n", [400], kept=False),
    Row("http/1.1", b"GET /prompts http/1.1\r\nHost: x\r\n\r\n", [400], kept=False),
    Row("RTSP", b"PLAY /prompts RTSP/1.0\r\n\r\n", [405], kept=False),
    Row("get", b"get /prompts HTTP/1.1\r\nHost: x\r\n\r\n", [400], kept=False),
    Row("an unknown method", b"FOO /prompts HTTP/1.1\r\nHost: x\r\n\r\n", [400], kept=False),
    Row("a method that is not served", b"PROPFIND /prompts HTTP/1.1\r\nHost: x\r\n\r\n", [405], kept=True),
    Row("two blanks", get(b" /prompts"), [200], kept=True),
    Row("tabs", b"GET\t/prompts\tHTTP/1.1\r\nHost: x\r\n\r\n", [400], kept=False),
    Row("a blank in the target", get(b"/prompts x"), [400], kept=False),
    Row("a blank after the version", b"GET /prompts HTTP/1.1 \r\nHost: x\r\n\r\n", [400], kept=False),
    Row("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", [400], kept=False),
]

# A path has one spelling, so that a rule of a proxy about it cannot be gone around. Only in a user id %41 is A.
TARGETS = [
    Row("a query", get(b"/prompts?x=y"), [200], kept=True),
    Row("an absolute target", get(b"http://y/prompts"), [200], kept=True),
    Row("an absolute target without a path", get(b"http://y").replace(b"GET", b"DELETE"), [405], kept=True),
    Row("a user id with %", get(b"/stats/%61nn"), [200], kept=True),
    Row("a user id with a slash", get(b"/stats/a%2Fb"), [200], kept=True),
    Row("a slash at the end", get(b"/prompts/"), [307], kept=True),
    Row("a user id and a slash", get(b"/stats/ann/?x=y"), [307], kept=True),
    Row("a fragment", get(b"/prompts#x"), [400], kept=False),
    Row("*", b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", [404], kept=True),
    *(
        Row(target.decode("latin-1"), get(target), [404], kept=True)
        for target in (
            *(b"//prompts", b"/prompts//", b"/./prompts", b"/x/../prompts", b"/%70rompts", b"/PROMPTS"),
            *(b"/%2e/prompts", b"/prompts%2f", b"/prompts%00", b"/prompts;x", b"/prompts\\", b"//y/prompts"),
            *(b"http://y//prompts", b"//", b"/stats"),
            *(b"/stats//ann", b"//stats/ann", b"/stats%2fann", b"/stats/./ann", b"/x/../stats/ann"),
        )
    ),
    *(
        Row(target.decode("latin-1"), get(target), [400], kept=False)
        for target in (b"prompts", b"\\prompts", b"?x", b"x:80", b"/\xc3\xa9", b"http:///prompts")
    ),
]

TABLE = {
    f"{part}: {row.name}": row
    for part, rows in {
        "plain": PLAIN,
        "upgrade": UPGRADES,
        "length": LENGTHS,
        "chunks": CHUNKS_ROWS,
        "head": HEADS,
        "target": TARGETS,
    }.items()
    for row in rows
}
EVERY_ROW = pytest.mark.parametrize("row", TABLE.values(), ids=TABLE)


@pytest.fixture(scope="module")
def served(store: RedisServer) -> Iterator[Server]:
    """A service that tells of each request, with a model of ann's that no row may touch."""
    environ = {"REDIS_URL": store.url, "ACCESS_LOG": "all", "LOG_FORMAT": "json", "MAX_REQUEST_SECONDS": "600"}
    with service({**environ, "STORE_TIMEOUT_SECONDS": "30"}) as server:
        assert httpx.post(f"{server.url}/reward", json=reward("ann"), timeout=60).status_code == 200
        yield server


@pytest.fixture(scope="module", params=["haproxy", "nginx"])
def proxy(request: pytest.FixtureRequest, served: Server) -> Iterator[Server]:
    with haproxy([served]) if request.param == "haproxy" else nginx(served) as server:
        until(lambda: httpx.get(f"{server.url}/health/live", timeout=60).status_code == 200, "the proxy serves")
        yield server


class Got(NamedTuple):
    status: int
    head: bytes
    body: bytes

    @property
    def is_ours(self) -> bool:
        """Whether the application answered, and not a proxy or the parser."""
        return b"\r\nx-request-id: " in self.head.lower()


def answers(raw: bytes) -> list[Got]:
    """The answers in what a server sent; their bodies have a length or chunks, or last until the end."""
    found = []
    while raw.startswith(b"HTTP/"):  # nginx answers HTTP/0.9 in its way
        head, _, raw = raw.partition(b"\r\n\r\n")
        status = int(head.split()[1])
        fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:])
        body = b""
        if b"chunked" in fields.get(b"transfer-encoding", b""):
            while size := int(raw.partition(b"\r\n")[0], 16):
                rest = raw.partition(b"\r\n")[2]
                body, raw = body + rest[:size], rest[size + 2 :]
            raw = raw.partition(b"\r\n\r\n")[2]
        elif status != 100:
            length = int(fields.get(b"content-length", len(raw)))
            body, raw = raw[:length], raw[length:]
        found.append(Got(status, head, body))
    return found


def exchange(server: Server, sent: bytes, piece: int) -> list[Got]:
    """Send bytes in pieces of this size, and read until the server closes the connection."""
    raw = b""
    with socket.create_connection(("127.0.0.1", server.port), 60) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(ConnectionError):  # it may have refused the first of them, and does not read the others
            for start in range(0, len(sent), piece):
                sock.sendall(sent[start : start + piece])
        with suppress(ConnectionError):
            while part := sock.recv(65_536):
                raw += part
    return answers(raw)


@pytest.mark.parametrize("whole", [True, False], ids=["at once", "in pieces"])
@EVERY_ROW
def test_the_service(served: Server, row: Row, whole: bool) -> None:
    """Each row has these answers, at once or byte by byte, and no other."""
    sent = row.sent + LAST
    found = exchange(served, sent, len(sent) if whole else max(1, len(sent) // 500))
    assert [got.status for got in found] == row.statuses + [200] * row.kept
    assert (b'"user_id":"last"' in found[-1].body) == row.kept
    assert all(got.status == 100 or got.head.count(b"application/json") == 1 for got in found)
    assert untouched(served)


class Log:
    """What the service has told of since the last look."""

    def __init__(self, served: Server) -> None:
        self._path = served.directory / "log"
        self._read = self._path.stat().st_size

    def statuses(self, until_id: str) -> list[int]:
        """The statuses of requests up to the one with this id; not of a proxy's probes, nor of what the parser refused
        while it came (499)."""
        lines: list[dict[str, Any]] = []

        def came() -> bool:
            with self._path.open("rb") as log:
                log.seek(self._read)
                lines[:] = [json.loads(line) for line in log.read().splitlines(keepends=True) if line.endswith(b"}\n")]
            return any(line.get("request_id") == until_id for line in lines)

        until(came, "the service tells of the request")
        told = [line for line in lines if line["logger"] == "oo.access" and line["route"] != "/health/ready"]
        return [line["status"] for line in told if line["request_id"] != until_id and line["status"] != 499]


@EVERY_ROW
def test_behind_a_proxy(served: Server, proxy: Server, row: Row) -> None:
    """The service sees as many requests as the proxy has answers of it, and the next client gets its own answer."""
    log = Log(served)
    found = exchange(proxy, row.sent + LAST, len(row.sent + LAST))
    # Likely on the connection on which the row was passed on.
    assert untouched(proxy, name := secrets.token_hex())
    assert [got.status for got in found if got.is_ours] == log.statuses(name)
    assert untouched(served)


def untouched(server: Server, name: str = "x") -> bool:
    """Whether ann's model is as it was, as a request of this id is told."""
    asked = b"GET /stats/ann HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Request-ID: %b\r\n\r\n" % name.encode()
    (got,) = exchange(server, asked, len(asked))
    return got.status == 200 and b'"user_id":"ann","pulls":0,"reward_count":1,' in got.body


def test_the_table_has_no_name_twice() -> None:
    assert len(TABLE) == sum(map(len, (PLAIN, UPGRADES, LENGTHS, CHUNKS_ROWS, HEADS, TARGETS)))
