"""What reaches the service before a request is one: heads and bodies that never end, and what is no HTTP."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from select import select

import httpx
import msgspec
import pytest

from tests.servers import RedisServer, Server, service


@pytest.fixture(scope="module")
def served(store: RedisServer) -> Iterator[Server]:
    with service({"REDIS_URL": store.url, "MAX_REQUEST_SECONDS": "0.2", "MAX_INFLIGHT": "2"}) as server:
        yield server


@contextmanager
def connection(served: Server) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", served.port), 20) as found:
        yield found


def answer(sock: socket.socket) -> tuple[int, str]:
    """The status and `detail` of the answer, which is JSON, after which the server closes or says so."""
    raw = b""
    while b"\r\n\r\n" not in raw or not raw.endswith(b"}"):
        received = sock.recv(65_536)
        if not received:
            raise ConnectionError
        raw += received
    head, _, body = raw.partition(b"\r\n\r\n")
    assert b"\r\ncontent-type: application/json" in head
    assert b"\r\ncontent-length: %d" % len(body) in head
    return int(head.split()[1]), msgspec.json.decode(body)["detail"]


START = b"POST /score HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n"
LATE = (408, "the request did not arrive within 0.2 seconds")


def test_a_request_that_never_comes_to_its_end(served: Server) -> None:
    """Whoever sends no more is answered 408, and then others have his place."""
    with connection(served) as one, connection(served) as other, connection(served) as third:
        one.sendall(START)
        other.sendall(START + b"{")
        third.sendall(START[:30])
        for sock in (one, other, third):
            assert answer(sock) == LATE
    assert httpx.get(f"{served.url}/stats/ann").status_code == 200


def test_a_later_request_that_never_comes_to_its_end(served: Server) -> None:
    """On a connection that served others it is the same, but for one that was answered without its body."""
    whole = b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n"
    with connection(served) as one, connection(served) as other:
        for sock in (one, other):
            sock.sendall(whole)
            assert b"200 OK" in sock.recv(65_536)
        one.sendall(START[:30])
        assert answer(one) == LATE
        other.sendall(START.replace(b"10", b"99999999"))
        assert answer(other)[0] == 413
        assert other.recv(65_536) == b""


def test_a_request_that_came_in_time(served: Server) -> None:
    """However many pieces it came in, its connection is there for the next when its time would have been over."""
    pieces = (START[:30], START[30:], b"{" + b" " * 9)
    with connection(served) as one, connection(served) as other:
        one.sendall(pieces[0])
        assert select([one], [], [], 0.01)[0] == []
        one.sendall(pieces[1])
        assert select([one], [], [], 0.01)[0] == []
        one.sendall(pieces[2])
        assert answer(one)[0] == 422
        other.sendall(START)
        assert answer(other) == LATE
        one.sendall(b"".join(pieces))
        assert answer(one)[0] == 422


def test_a_body_that_would_be_too_long(served: Server) -> None:
    """A length that is too much is refused before the body is sent, and its sender is not asked to go on."""
    with connection(served) as sock:
        sock.sendall(b"POST /score HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999\r\nexpect: 100-continue\r\n\r\n")
        assert answer(sock) == (413, "the body is longer than 2097152 bytes")


@pytest.mark.parametrize("line", [b"x" * 60_000, b"x: y\r\n" * 10_000], ids=["one header", "many headers"])
def test_a_head_that_never_ends(served: Server, line: bytes) -> None:
    """Headers are not kept without a limit, before anybody could look at them: the connection is closed."""
    sent = 0
    with connection(served) as sock, suppress(ConnectionError):
        sock.sendall(b"POST /score HTTP/1.1\r\nhost: x\r\nx-long: ")
        while sent < 100_000_000 and not select([sock], [], [], 0)[0]:
            sent += sock.send(line)
        # Read if it came before the system's word that the rest was not wanted.
        assert answer(sock) == (431, "the headers are longer than 65536 bytes")
    assert sent < 10_000_000
    assert httpx.get(f"{served.url}/health/live").status_code == 200


def test_what_is_taken(served: Server) -> None:
    """Headers of a usual size are, and bodies do not count as such, nor do requests that follow one another at once."""
    long = {"x-long": "x" * 30_000}
    assert httpx.get(f"{served.url}/health/live", headers=long).status_code == 200
    body = b"{" + b" " * 200_000
    assert httpx.post(f"{served.url}/score", headers=long, content=body).status_code == 422
    one = b"GET /health/live HTTP/1.1\r\nhost: x\r\nx-long: %s\r\n\r\n" % (b"x" * 1_000)
    with connection(served) as sock:
        sock.sendall(one * 100)
        raw = b""
        while raw.count(b"200 OK") < 100:
            raw += sock.recv(65_536)


@pytest.mark.parametrize(
    "sent", [b"FOO /score HTTP/1.1\r\n\r\n", b"GET /\xff HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00", b"hello\r\n\r\n"]
)
def test_what_is_no_http(served: Server, sent: bytes) -> None:
    """It is refused in JSON, as every other error is."""
    with connection(served) as sock:
        sock.sendall(sent)
        assert answer(sock) == (400, "the request is not HTTP")
