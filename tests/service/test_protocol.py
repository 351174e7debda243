"""Bytes that are not a request yet, or never: heads and bodies without an end, and what is not HTTP."""

import hashlib
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from select import select

import httpx
import msgspec
import pytest

from tests.promises.test_overload import megabytes
from tests.support.bodies import reward
from tests.support.processes import Server
from tests.support.redis_servers import RedisServer
from tests.support.service import service
from tests.support.waiting import until


@pytest.fixture(scope="module")
def served(store: RedisServer) -> Iterator[Server]:
    """A service with all patience, for what is not about time."""
    with service({"REDIS_URL": store.url, "MAX_REQUEST_SECONDS": "600"}) as server:
        yield server


@pytest.fixture(scope="module")
def hurried(store: RedisServer) -> Iterator[Server]:
    """A service with little patience and two places."""
    environ = {"MAX_REQUEST_SECONDS": "1", "MAX_INFLIGHT": "2", "STORE_TIMEOUT_SECONDS": "30"}
    with service({"REDIS_URL": store.url, **environ}) as server:
        yield server


@contextmanager
def frozen(served: Server) -> Iterator[None]:
    """What is sent meanwhile is there when the service looks for it: none of it comes late."""
    served.pause()
    try:
        yield
    finally:
        served.resume()


@contextmanager
def connection(served: Server) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", served.port), 60) as found:
        yield found


def received(sock: socket.socket) -> bytes:
    """What came next; there must be something."""
    found = sock.recv(65_536)
    if not found:
        raise ConnectionError
    return found


def parts(sock: socket.socket) -> tuple[bytes, bytes]:
    """The head of the answer and its body, which is a JSON object."""
    raw = b""
    while b"\r\n\r\n" not in raw or not raw.endswith(b"}"):
        raw += received(sock)
    head, _, body = raw.partition(b"\r\n\r\n")
    return head, body


def answer(sock: socket.socket) -> tuple[int, str]:
    """The status and `detail` of the answer, which is JSON, after which the server closes or says so."""
    head, body = parts(sock)
    assert b"\r\ncontent-type: application/json" in head
    assert b"\r\ncontent-length: %d" % len(body) in head
    return int(head.split()[1]), msgspec.json.decode(body)["detail"]


START = b"POST /score HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n"
LATE = (408, "the request did not arrive within 1 seconds")
# Many times what may be kept and what the system takes in before anybody looks at it.
ENDLESS = 100_000_000


def test_a_request_that_never_comes_to_its_end(hurried: Server) -> None:
    """Whoever sends no more is answered 408, and then others have his place."""
    with ExitStack() as stack:
        with frozen(hurried):
            one, other, third = (stack.enter_context(connection(hurried)) for _ in range(3))
            one.sendall(START)
            other.sendall(START + b"{")
            third.sendall(START[:30])
        for sock in (one, other, third):
            assert answer(sock) == LATE

    def served() -> bool:
        with suppress(httpx.TransportError):  # this one came late
            return httpx.get(f"{hurried.url}/stats/ann", timeout=60).status_code == 200
        return False

    until(served, "their places are free")


def test_a_later_request_that_never_comes_to_its_end(hurried: Server) -> None:
    """On a connection that hurried others it is the same, but for one that was answered without its body."""
    whole = b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n"

    def kept() -> bool:
        """Not if one was closed as idle, after 5 s, before the later request was sent."""
        with suppress(ConnectionError), ExitStack() as stack:
            with frozen(hurried):
                one, other = (stack.enter_context(connection(hurried)) for _ in range(2))
                for sock in (one, other):
                    sock.sendall(whole)
            for sock in (one, other):
                assert b"200 OK" in parts(sock)[0]
            one.sendall(START[:30])
            other.sendall(START.replace(b"10", b"99999999"))
            assert answer(one) == LATE
            assert answer(other)[0] == 413
            assert other.recv(65_536) == b""
            return True
        return False

    until(kept, "the later request was met")


def test_an_idle_connection(hurried: Server) -> None:
    """One on which no request begins is closed, without a word, whatever else is sent."""
    with ExitStack() as stack:
        with frozen(hurried):
            one, other = (stack.enter_context(connection(hurried)) for _ in range(2))
            other.sendall(b"\r\n")
        assert (one.recv(1), other.recv(1)) == (b"", b"")


def test_a_body_that_would_be_too_long(served: Server) -> None:
    """A length that is too much is refused before the body is sent, and its sender is not asked to go on. It may send
    the body or the next request now, so the connection ends."""
    with connection(served) as sock:
        sock.sendall(b"POST /score HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999\r\nexpect: 100-continue\r\n\r\n")
        assert answer(sock) == (413, "the body is longer than 2097152 bytes")
        sock.settimeout(4)  # less than an idle connection is kept
        assert sock.recv(1) == b""


@pytest.mark.parametrize(
    ("line", "detail"),
    [
        (b"x" * 60_000, "the headers are longer than 65536 bytes"),
        (b"x: y\r\n" * 10_000, "there are more than 128 headers"),
    ],
    ids=["one header", "many headers"],
)
def test_a_head_that_never_ends(served: Server, line: bytes, detail: str) -> None:
    """Headers are not kept without a limit, before anybody could look at them: the connection is closed."""
    sent = 0
    with connection(served) as sock, suppress(ConnectionError):
        sock.sendall(b"POST /score HTTP/1.1\r\nhost: x\r\nx-long: ")
        while sent < ENDLESS and not select([sock], [], [], 0)[0]:
            sent += sock.send(line)
        # Read if it came before the system's word that the rest was not wanted.
        assert answer(sock) == (431, detail)
    assert sent < ENDLESS
    assert httpx.get(f"{served.url}/health/live", timeout=60).status_code == 200


def test_empty_lines_that_never_end(served: Server) -> None:
    """What may come before a request is bounded in bytes, not only in time: the connection is closed."""
    sent = 0
    with connection(served) as sock, suppress(ConnectionError):
        while sent < ENDLESS and not select([sock], [], [], 0)[0]:
            sent += sock.send(b"\r\n" * 500)
        assert sent < ENDLESS
        assert answer(sock) == (400, "the empty lines before the request are longer than 1024 bytes")
    assert sent < ENDLESS


def test_headers_after_a_body(served: Server) -> None:
    """What may follow a chunked body is bounded like what comes before it."""
    start = START.replace(b"content-length: 10", b"transfer-encoding: chunked") + b"1\r\n{\r\n"
    with connection(served) as sock:
        sock.sendall(start + b"0\r\nx-trailer: y\r\n\r\n")
        assert answer(sock)[0] == 422
    sent = 0
    with connection(served) as sock, suppress(ConnectionError):
        sock.sendall(start + b"0\r\n")
        while sent < ENDLESS and not select([sock], [], [], 0)[0]:
            sent += sock.send(b"x: y\r\n" * 10_000)
        assert answer(sock) == (431, "the trailers and chunk extensions are longer than 65536 bytes")
    assert sent < ENDLESS


def test_a_chunked_body_is_no_header(served: Server) -> None:
    """However it is cut into pieces."""
    start = START.replace(b"content-length: 10", b"transfer-encoding: chunked")
    with connection(served) as sock:
        sock.sendall(start + b"61a80\r\n{" + b" " * 399_999 + b"\r\n" + b"1\r\n \r\n" * 50_000 + b"0\r\n")
        sock.sendall(b"\r\n")
        assert answer(sock)[0] == 422


def test_what_is_taken(served: Server) -> None:
    """Headers of a usual size are, and bodies do not count as such, nor do requests that follow one another at once."""
    long = {"x-long": "x" * 30_000}
    assert httpx.get(f"{served.url}/health/live", headers=long, timeout=60).status_code == 200
    body = b"{" + b" " * 200_000
    assert httpx.post(f"{served.url}/score", headers=long, content=body, timeout=60).status_code == 422
    one = b"GET /health/live HTTP/1.1\r\nhost: x\r\nx-long: %s\r\n\r\n" % (b"x" * 1_000)
    with connection(served) as sock:
        sock.sendall(one * 100)
        raw = b""
        while raw.count(b"200 OK") < 100:
            raw += received(sock)


@pytest.mark.parametrize(
    "sent", [b"FOO /score HTTP/1.1\r\n\r\n", b"GET /\xff HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00", b"hello\r\n\r\n"]
)
def test_what_is_no_http(served: Server, sent: bytes) -> None:
    """It is refused in JSON, as every other error is."""
    with connection(served) as sock:
        sock.sendall(sent)
        assert answer(sock) == (400, "the request is not HTTP")


KEYS = {"API_KEYS": f"phone:client:{hashlib.sha256(b'key').hexdigest()}"}
# What strangers send first, and then again and again.
FLOODS = {
    "pipelined": (b"", b"GET /stats/ann HTTP/1.1\r\nhost: x\r\n\r\n" * 2_000),
    "one-byte chunks": (START.replace(b"content-length: 10", b"transfer-encoding: chunked"), b"1\r\n \r\n" * 10_000),
    "empty lines": (b"", b"\r\n" * 30_000),
}


@pytest.mark.parametrize(("first", "more"), FLOODS.values(), ids=FLOODS)
def test_strangers_who_do_not_read(first: bytes, more: bytes) -> None:
    """Six connections without a key that send without an end leave memory alone, and others are served meanwhile."""
    with service({**KEYS, "MAX_REQUEST_SECONDS": "2", "ACCESS_LOG": "off"}) as served, ExitStack() as stack:
        enough = threading.Event()

        def flood() -> int:
            """Send again and again what the service takes; the number of bytes that it took."""
            sent = 0
            while not enough.is_set():
                with suppress(OSError), connection(served) as sock:
                    sock.settimeout(0.1)
                    sent += sock.send(first) if first else 0
                    while not enough.is_set():
                        with suppress(TimeoutError):
                            sent += sock.send(more)
            return sent

        strangers = stack.enter_context(ThreadPoolExecutor(6))
        stack.callback(enough.set)
        floods = [strangers.submit(flood) for _ in range(6)]
        client = stack.enter_context(httpx.Client(base_url=served.url, headers={"authorization": "Bearer key"}))
        most = 0.0
        for _ in range(50):
            assert client.post("/reward", json=reward(), timeout=60).status_code == 200
            most = max(most, megabytes(served))
        enough.set()
        assert all(flood.result() for flood in floods)
        assert most < 150


def test_answers_that_are_not_taken(store: RedisServer) -> None:
    """A client that reads no answer is disconnected, and its request's place is free again."""
    asked = b"GET /schema HTTP/1.1\r\nhost: x\r\n\r\n" * 100
    with service({"REDIS_URL": store.url, "MAX_REQUEST_SECONDS": "1", "MAX_INFLIGHT": "1"}) as served:
        with connection(served) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            sock.setblocking(False)

            def broken() -> bool:
                with suppress(BlockingIOError):
                    sock.send(asked)
                return False

            with pytest.raises(ConnectionError):
                until(broken, "the connection is reset")
        until(lambda: httpx.get(f"{served.url}/stats/ann", timeout=60).status_code == 200, "the place is free")
