"""A TCP proxy before a Redis that can make the moments in which updates get lost: around EXEC.

It runs in a thread with a loop of its own, so it stands before a service in another process as well as before code
in the test's loop. It changes no byte: it drops, delays and cuts. For a cluster, let the nodes announce the proxies'
ports: `redis_cluster(announce=...)`.
"""

import asyncio
import math
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal, NamedTuple, Self, TypeVar

from state.store import Store
from tests.support.processes import free_port
from tests.support.redis_servers import RedisServer
from tests.support.waiting import PATIENCE_SECONDS, until_async

__all__ = ["Proxy", "hasty", "waits_in_vain"]

HOST = "127.0.0.1"
T = TypeVar("T")


@contextmanager
def hasty(store: Store, seconds: float = 0.5) -> Iterator[None]:
    """What is asked of `store` within has only so long, for where no answer can come; else tests' stores are patient.

    A store that is always hasty would give up on a busy machine what the test wants to succeed.
    """
    patience = store._timeout
    store._timeout = store._transactions._timeout = store._asker._timeout = seconds
    try:
        yield
    finally:
        store._timeout = store._transactions._timeout = store._asker._timeout = patience


async def waits_in_vain(server: RedisServer) -> None:
    """End the WAIT of a client as Redis does when its time is up."""
    with server.client() as client:

        async def ended() -> bool:
            blocked = [int(one["id"]) for one in client.client_list() if "b" in one["flags"]]
            return any(client.client_unblock(one) for one in blocked)

        await until_async(ended, "WAIT")


class Fault(NamedTuple):
    """What happens to one command: which part of its way is disturbed, and for how long."""

    kind: Literal["lose", "delay", "swallow", "hold"]
    seconds: float = 0.0


class Proxy:
    """`with Proxy(server.port) as proxy:` listens on `proxy.port`; each fault armed meets one EXEC, first come first.

    `on` names another command to meet instead of EXEC. `met` counts those commands that were forwarded, with or
    without a fault, `held` those that wait now. Every method has taken effect when it returns.
    """

    def __init__(self, target: int, *, on: str = "EXEC") -> None:
        self.target = target
        self.port = free_port()
        self.url = f"redis://{HOST}:{self.port}/0"
        self.on = on.upper().encode()
        self.met = 0
        self.held = 0
        self.faults: deque[Fault] = deque()
        self.released = asyncio.Event()
        self.links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="faults", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        async def end() -> None:
            self._unlisten()
            # A connection that was just taken has no task of ours yet, and left to itself it would never be closed.
            while others := asyncio.all_tasks() - {asyncio.current_task()}:
                for task in self._tasks:
                    task.cancel()
                await asyncio.wait(others)

        self._do(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def connections(self) -> int:
        return len(self.links)

    # Each of these meets one EXEC to come

    def lose_reply(self) -> None:
        """EXEC is applied; its reply is dropped and the connection cut."""
        self._arm(Fault("lose"))

    def delay_reply(self, seconds: float) -> None:
        """EXEC is applied; its reply, and all after it on that connection, comes `seconds` later."""
        self._arm(Fault("delay", seconds))

    def swallow_reply(self) -> None:
        """EXEC is applied; nothing comes back on that connection any more, and it stays open."""
        self._arm(Fault("swallow"))

    def hold_exec(self, seconds: float = math.inf) -> None:
        """EXEC reaches Redis after `seconds` or at `release()`, even if whoever sent it has gone away by then."""
        self._arm(Fault("hold", seconds))

    # These act at once

    def release(self) -> None:
        """Let every held EXEC go on."""
        self._call(self._release)

    def refuse(self) -> None:
        """Refuse new connections; those that exist go on."""
        self._call(self._unlisten)

    def cut(self) -> None:
        """Cut every connection; an EXEC that is held still arrives when it is released."""

        def go() -> None:
            for link in self.links:
                link.cut()

        self._call(go)

    def heal(self) -> None:
        """No fault any more: connections are taken, no EXEC to come is met, held ones go on."""

        async def go() -> None:
            self.faults.clear()
            self._release()
            await self._listen()

        self._do(go())

    def _arm(self, fault: Fault) -> None:
        self._call(lambda: self.faults.append(fault))

    def _release(self) -> None:
        self.released.set()
        self.released = asyncio.Event()

    async def _listen(self) -> None:
        if self._listener is None:
            self._listener = await asyncio.start_server(self._accept, HOST, self.port)

    def _unlisten(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = self._loop.create_task(self._link(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: writer.transport.abort())  # also if it was cancelled before it began

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream = await asyncio.open_connection(HOST, self.target)
        except (OSError, asyncio.CancelledError):
            writer.transport.abort()
            return
        link = _Link(self, (reader, writer), upstream)
        self.links.add(link)
        try:
            await link.run()
        finally:
            self.links.discard(link)

    def _call(self, act: Callable[[], object]) -> None:
        async def go() -> None:
            act()

        self._do(go())

    def _do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(PATIENCE_SECONDS)


Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Link:
    """One connection: commands go up one by one, and each reply comes down knowing which fault its command met."""

    def __init__(self, proxy: Proxy, client: Stream, server: Stream) -> None:
        self.proxy = proxy
        self.client, self.to_client = client
        self.server, self.to_server = server
        self.expected: deque[Fault | None] = deque()
        self.silent = False

    async def run(self) -> None:
        up = asyncio.create_task(self._up())
        down = asyncio.create_task(self._down())
        try:
            await asyncio.gather(up, down)
        finally:
            up.cancel()
            down.cancel()
            # Before anything is waited for: the wait may be cancelled.
            self.to_client.transport.abort()
            self.to_server.transport.abort()
            await asyncio.gather(up, down, return_exceptions=True)

    def cut(self) -> None:
        self.to_client.transport.abort()

    async def _up(self) -> None:
        with suppress(asyncio.IncompleteReadError, OSError):
            while True:
                name, raw = await _command(self.client)
                fault = None
                if name.upper() == self.proxy.on:
                    fault = self.proxy.faults.popleft() if self.proxy.faults else None
                    if fault and fault.kind == "hold":
                        await self._hold(fault.seconds)
                    self.proxy.met += 1
                self.expected.append(fault)
                self.to_server.write(raw)
                await self.to_server.drain()
        # No more will be said: Redis answers what it has read and then hangs up, which ends the way down.
        with suppress(OSError):
            self.to_server.write_eof()

    async def _hold(self, seconds: float) -> None:
        self.proxy.held += 1
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(None if seconds == math.inf else seconds):
                    await self.proxy.released.wait()
        finally:
            self.proxy.held -= 1

    async def _down(self) -> None:
        with suppress(asyncio.IncompleteReadError, OSError):
            while True:
                raw = await _reply(self.server)
                fault = None
                if raw[:1] != b">" and self.expected:  # a push answers no command
                    fault = self.expected.popleft()
                if fault and fault.kind == "lose":
                    break
                if fault and fault.kind == "delay":
                    await asyncio.sleep(fault.seconds)
                self.silent |= bool(fault and fault.kind == "swallow")
                if not self.silent:
                    with suppress(OSError):  # the client may have gone; what it sent still counts
                        self.to_client.write(raw)
                        await self.to_client.drain()
        self.to_client.transport.abort()


async def _line(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n")


async def _bulk(reader: asyncio.StreamReader, head: bytes) -> bytes:
    size = int(head[1:])
    return head if size < 0 else head + await reader.readexactly(size + 2)


async def _command(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """The name of the next command and its bytes."""
    head = await _line(reader)
    words = [await _bulk(reader, await _line(reader)) for _ in range(int(head[1:]))]
    return words[0].split(b"\r\n")[1], head + b"".join(words)


async def _reply(reader: asyncio.StreamReader) -> bytes:
    """The bytes of the next whole reply, in RESP2 or RESP3."""
    head = await _line(reader)
    kind = head[:1]
    if kind in b"$=!":
        return await _bulk(reader, head)
    if kind in b"*~>%|":
        count = int(head[1:]) * (2 if kind in b"%|" else 1) + (kind == b"|")
        return head + b"".join([await _reply(reader) for _ in range(count)])
    return head
