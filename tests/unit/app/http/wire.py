"""A protocol without a socket: bytes go in by `data_received`, answers are kept."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import uvicorn
from uvicorn.server import ServerState

from app.http.connection import Sweep
from app.http.protocol import HttpProtocol

GET = b"GET /a HTTP/1.1\r\nhost: x\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\n"
CHUNKED = b"POST /a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"


class Transport(asyncio.Transport):
    """Keeps what is written and what is asked of it; `unsent` bytes are not taken by the client."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.calls: list[str] = []
        self.unsent = 0
        self.answered, self.closed, self.aborted = asyncio.Event(), asyncio.Event(), asyncio.Event()

    def write(self, data: Any) -> None:
        self.written += data
        self.answered.set()

    def is_closing(self) -> bool:
        return self.closed.is_set()

    def close(self) -> None:
        self.calls.append("close")
        self.closed.set()

    def abort(self) -> None:
        self.calls.append("abort")
        self.aborted.set()

    def pause_reading(self) -> None:
        self.calls.append("pause")

    def resume_reading(self) -> None:
        self.calls.append("resume")

    def get_write_buffer_size(self) -> int:
        return self.unsent


class Wire:
    """A connection to an application that reads each body and says what it was asked."""

    def __init__(self, protocol: HttpProtocol, transport: Transport, state: ServerState) -> None:
        self.protocol = protocol
        self.transport = transport
        self.state = state
        self.seen: list[tuple[str, str, bytes]] = []

    def send(self, data: bytes) -> None:
        self.protocol.data_received(data)

    async def settle(self) -> None:
        """Until no request is being served, and what waited for that has been read."""
        for _ in range(3):
            await asyncio.sleep(0)
        while self.state.tasks or self.protocol._turn is not None:  # noqa: ASYNC110  # turns of the loop, no time
            await asyncio.sleep(0)

    def refusal(self) -> tuple[int, str]:
        """The status and detail of the one answer, which ends the connection."""
        head, _, body = self.transport.written.partition(b"\r\n\r\n")
        assert b"connection: close" in head
        assert b"content-length: %d" % len(body) in head
        assert self.transport.is_closing()
        return int(head.split()[1]), msgspec.json.decode(body)["detail"]


@asynccontextmanager
async def wired(*, seconds: float = 3_600, sweep: Sweep | None = None) -> AsyncIterator[Wire]:
    """A new connection, which is lost in the end."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = b""
        more = True
        while more:
            event = await receive()
            if event["type"] == "http.disconnect":
                return
            body += event["body"]
            more = event["more_body"]
        wire.seen.append((scope["method"], scope["path"], body))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok", "more_body": False})

    config = uvicorn.Config(app, log_config=None, proxy_headers=False, server_header=False, date_header=False)
    config.load()
    state, transport = ServerState(), Transport()
    protocol = HttpProtocol(config=config, server_state=state, app_state={}, seconds=seconds, sweep=sweep or Sweep())
    wire = Wire(protocol, transport, state)
    protocol.connection_made(transport)
    try:
        yield wire
    finally:
        protocol.connection_lost(None)
        await wire.settle()
