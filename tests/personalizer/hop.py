"""An HTTP proxy between an SDK and the replicas, which fails the requests that ask for it."""

import re
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.support.processes import HOST, Server, free_port

__all__ = ["Hop", "hop"]

# The first request with one of these words, in its path or body, fails; what is sent again passes.
# refuse: answered 503 and not passed on. lose: passed on, then answered 503. cut: passed on, then cut.
FAULT = re.compile(rb"(refuse|lose|cut)-[\w-]+")
# An error that is not of Personalizer's shape would break the older SDKs.
BUSY = b'{"error": {"code": "InternalServerError", "message": "try again"}}'
# What belongs to one connection and is not passed on.
OWN = {"connection", "content-length", "date", "keep-alive", "server", "transfer-encoding"}


class Hop(ThreadingHTTPServer):
    """`faults` counts how often each kind was met; `refusals` are the refusals with a Retry-After that came through."""

    daemon_threads = True

    def __init__(self, port: int, replicas: Sequence[Server]) -> None:
        super().__init__((HOST, port), _Request)
        self.url = f"http://{HOST}:{port}"
        self.replicas = replicas
        self.faults: Counter[str] = Counter()
        self.refusals: list[str] = []
        self._sent: Counter[bytes] = Counter()
        self._lock = threading.Lock()

    def times(self, request: bytes) -> int:
        """How often this request has come before."""
        with self._lock:
            self._sent[request] += 1
            return self._sent[request] - 1


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Hop

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name that it has above
        pass

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        request = b" ".join([self.command.encode(), self.path.encode(), body])
        found = FAULT.search(request)
        # What was sent again goes to another replica, which has seen nothing of it.
        again = self.server.times(request) if found else 0
        fault = found[1].decode() if found and not again else ""
        self.server.faults[fault] += 1
        if fault != "refuse":
            status, headers, said = self._passed_on(body, again)
            if status not in (429, 503) and any(name.lower() == "retry-after" for name, _ in headers):
                self.server.refusals.append(f"{self.command} {self.path}: {status}")
        if fault == "cut":
            self.close_connection = True
            return
        if fault:
            status, headers, said = 503, [("Content-Type", "application/json")], BUSY
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    do_GET = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815  # the names that http.server asks for

    def _passed_on(self, body: bytes, again: int) -> tuple[int, list[tuple[str, str]], bytes]:
        replica = self.server.replicas[again % len(self.server.replicas)]
        connection = HTTPConnection(HOST, replica.port, timeout=60)
        try:
            connection.request(self.command, self.path, body or None, dict(self.headers.items()))
            answer = connection.getresponse()
            headers = [(name, value) for name, value in answer.getheaders() if name.lower() not in OWN]
            return answer.status, headers, answer.read()
        finally:
            connection.close()


@contextmanager
def hop(replicas: Sequence[Server]) -> Iterator[Hop]:
    """A Hop before these replicas, on a free port."""
    proxy = Hop(free_port(), replicas)
    thread = threading.Thread(target=proxy.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        thread.join()
        proxy.server_close()
