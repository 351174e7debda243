"""The service without a socket: an event loop whose connections to Redis end in this process, and clients of HTTP.

All is deterministic: no byte crosses the kernel, no timer fires, and everything happens in the order in which it was
asked for.
"""

import asyncio
import random
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import uvicorn
import uvloop
from fakeredis import FakeRedis, FakeServer
from redis.exceptions import RedisError
from uvicorn.server import ServerState

from app.http.connection import Sweep
from app.http.protocol import HttpProtocol
from app.main import create_app
from app.settings import Secret, Settings

__all__ = ["Client", "Loop", "in_memory"]

# Any moment will do; the policies see only the clock of the requests.
_NOW: Final = 1_795_438_044.0


class _Never:
    """A timer that does not fire."""

    def cancel(self) -> None:
        """Do nothing."""


class _Turn:
    """A turn of the loop, without asyncio's own code."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class _RedisTransport(asyncio.Transport):
    """A connection to fakeredis: commands are executed at once, and their replies arrive in the loop's next turn.

    The client is redis-py's own class over asyncio's streams, with hiredis' parser. What fakeredis does is hidden from
    `loop.watch`.
    """

    def __init__(self, loop: "Loop", protocol: Any) -> None:
        super().__init__()
        self._loop, self._protocol, self._closed = loop, protocol, False
        pool: Any = FakeRedis(server=loop.redis, protocol=2).connection_pool
        self._made = pool.make_connection()  # it would close the socket at its own end
        self._made.connect()
        self._socket = self._made._sock  # noqa: SLF001  # fakeredis speaks bytes only there

    def write(self, data: Any) -> None:
        with self._loop.unwatched():
            self._loop.exchanges.append(len(data))
            self._socket.sendall(bytes(data))
            replies = b"".join(_packed(self._socket.responses.get()) for _ in range(self._socket.responses.qsize()))
            self._loop.call_soon(self._protocol.data_received, replies)

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def is_closing(self) -> bool:
        return self._closed

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._loop.call_soon(self._protocol.connection_lost, None)

    abort = close


def _packed(reply: Any) -> bytes:
    """A reply as Redis writes it in the second version of its protocol."""
    if reply is None:
        return b"$-1\r\n"
    if isinstance(reply, list):
        return b"*%d\r\n" % len(reply) + b"".join(map(_packed, reply))
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    if isinstance(reply, bytes):
        return b"$%d\r\n%b\r\n" % (len(reply), reply)
    if isinstance(reply, RedisError):
        return b"-%b\r\n" % str(reply).encode()
    return b"+%b\r\n" % bytes(reply.value)  # fakeredis' SimpleString


class Loop(uvloop.Loop):
    """uvloop, as the service is shipped, whose timers never fire and whose connections lead to one fakeredis.

    `exchanges` has the bytes of each write to Redis; `watch` switches measuring on or off.
    """

    def __init__(self) -> None:
        super().__init__()
        self.redis = FakeServer()
        self.exchanges: list[int] = []
        self.watch: Callable[[bool], None] = lambda _: None
        self.watching = False

    @contextmanager
    def unwatched(self) -> Iterator[None]:
        """Measure nothing within the block."""
        if self.watching:
            self.watch(False)  # noqa: FBT003  # as one says it
        try:
            yield
        finally:
            if self.watching:
                self.watch(True)  # noqa: FBT003

    def call_later(self, *_: Any, **__: Any) -> Any:  # type: ignore[override]  # no argument matters
        return _Never()

    def call_at(self, *_: Any, **__: Any) -> Any:  # type: ignore[override]  # likewise
        return _Never()

    async def create_connection(self, protocol_factory: Any, *_: Any, **__: Any) -> Any:
        protocol = protocol_factory()
        transport = _RedisTransport(self, protocol)
        protocol.connection_made(transport)
        return transport, protocol


class Client(asyncio.Transport):
    """One connection of HTTP: what is sent arrives at once, and what is answered is kept."""

    def __init__(self, protocol: HttpProtocol) -> None:
        super().__init__()
        self.protocol = protocol
        self.answer = b""

    def send(self, data: bytes) -> None:
        """Send a request."""
        self.answer = b""
        self.protocol.data_received(data)

    def write(self, data: Any) -> None:
        self.answer += data

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        raise AssertionError(f"the service closed a connection, after {self.answer!r}")

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        """Do nothing: nothing arrives by itself."""

    def resume_reading(self) -> None:
        """Do nothing."""


@contextmanager
def in_memory(connections: int) -> Iterator[tuple[Loop, Callable[[Iterable[Sequence[bytes]]], None]]]:
    """The service with so many connections; what it yields sends a request on each, in each round, once those of the
    round before are answered.
    """
    loop = Loop()
    asyncio.set_event_loop(loop)
    settings = Settings(redis_url=Secret("redis://in-memory"), log_level="warning")
    app: Any = create_app(settings, clock=lambda: _NOW, chance=random.Random(1))
    config = uvicorn.Config(
        app, log_config=None, access_log=False, proxy_headers=False, server_header=False, date_header=False
    )
    config.load()
    state, sweep, clients = ServerState(), Sweep(), []
    lifespan: Any = config.lifespan_class(config)
    loop.run_until_complete(lifespan.startup())
    for _ in range(connections):
        protocol = HttpProtocol(config=config, server_state=state, app_state=lifespan.state, seconds=30, sweep=sweep)
        clients.append(Client(protocol))
        protocol.connection_made(clients[-1])

    async def serve(rounds: Iterable[Sequence[bytes]]) -> None:
        for requests in rounds:
            for client, request in zip(clients, requests, strict=True):
                loop.call_soon(client.send, request)
            await _Turn()
            while state.tasks:
                await _Turn()
            for client in clients:
                if not client.answer.startswith(b"HTTP/1.1 200 "):
                    raise SystemExit(f"the service answered {client.answer!r}")

    def ask(rounds: Iterable[Sequence[bytes]]) -> None:
        loop.run_until_complete(serve(rounds))

    try:
        yield loop, ask
    finally:
        for client in clients:
            client.protocol.connection_lost(ConnectionResetError())
        loop.run_until_complete(lifespan.shutdown())
        loop.close()
