"""One durable pull consumer on one stream: ask for events, keep each alive while it is in hand, and pass it on."""

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any, Final

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from app.events.counts import Counts, Trace, untraced
from app.events.delivery import Delivery
from app.events.handlers import Event
from app.events.store_gate import StoreGate
from app.events.waiting import jitter, within

__all__ = ["Pull", "Request"]

IN_HAND: Final = 256  # events of one consumer that one replica works on at once
IN_HAND_BYTES: Final = 16_777_216  # so a flood of large events takes no more memory
PULL_SECONDS: Final = 10.0  # how long one request for events stays open at the server
ACK: Final = "$JS.ACK."


class Request:
    """The request for events that is open at the server: how many are still to come, and whether it was refused."""

    def __init__(self) -> None:
        self._events = 0
        self._filled = False
        self.refusal: str | None = None
        self.refused = False

    @property
    def is_open(self) -> bool:
        return self._events > 0

    def open(self, events: int) -> None:
        """A new request for so many events was sent; the last refusal stands until an event arrives."""
        self._events = events
        self._filled = False
        self.refused = False

    def arrived(self) -> None:
        """One of its events has arrived."""
        self._events -= 1
        self._filled = True
        self.refusal = None

    def ended(self, headers: Mapping[str, str]) -> None:
        """The server ends it: it expired (408), is filled to its `max_bytes`, or cannot be served (409)."""
        self._events = 0
        self.refused = headers.get("Status") != "408" and not self._filled
        self.refusal = _refusal(headers) if self.refused else None

    def forget(self) -> None:
        """Nothing more comes of it: the connection it was sent over is gone."""
        self._events = 0


class Pull:
    """The events of one durable on one stream that this process handles.

    `running` holds the tasks of the events in hand; it belongs to the caller, who waits for them at shutdown. `api` is
    the start of JetStream's subjects, which depends on its domain. `pending` counts the events that have not been
    delivered to any replica yet.
    """

    def __init__(
        self,
        client: Client,
        stream: str,
        durable: str,
        *,
        handle: Callable[[Event], Awaitable[None]],
        gate: StoreGate,
        counts: Counts,
        running: set[asyncio.Task[None]],
        first_nak_seconds: float,
        trace: Trace = untraced,
        api: str = "$JS.API",
    ) -> None:
        self._client = client
        self._next = f"{api}.CONSUMER.MSG.NEXT.{stream}.{durable}"
        self._gate = gate
        self._counts = counts
        self._running = running
        self._delivery = Delivery(client, handle, gate, counts, trace, first_nak_seconds=first_nak_seconds)
        self._in_hand: dict[int, asyncio.TimerHandle] = {}
        self._bytes = 0
        self._request = Request()
        self._wake = asyncio.Event()
        self._ack_wait = 30.0
        self.pending = 0
        self.paused = False

    @property
    def in_hand(self) -> int:
        return len(self._in_hand)

    @property
    def problems(self) -> list[str]:
        """The problem that keeps events from arriving, or from becoming dead letters."""
        named = {
            "nothing is delivered": self._request.refusal,
            "a dead letter was not taken": self._delivery.problem,
        }
        return [f"{what}: {why}" for what, why in named.items() if why]

    def update(self, *, pending: int, paused: bool, max_deliver: int, ack_wait: float) -> None:
        """Take over what the server says of the durable; `ack_wait` in seconds."""
        self.pending = pending
        self.paused = paused
        self._delivery.max_deliver = max_deliver
        self._ack_wait = ack_wait

    async def run(self) -> None:
        """Ask for events and handle each in a task of its own, until cancelled; then take no more.

        nats-py's `fetch` is not used: it takes an event with a header called Status for a message of the server.
        """
        inbox = self._client.new_inbox()
        subscription = await self._client.subscribe(inbox, cb=self._arrived)
        try:
            while True:
                await self._gate.passed()
                events = IN_HAND - self.in_hand
                # At least the largest event must fit into the half of it that a request may ask for.
                size = max(IN_HAND_BYTES, 4 * self._client.max_payload)
                if events < IN_HAND // 2 or self._bytes > size // 2 or not self._client.is_connected:
                    await self._awoken(1.0)
                    continue
                await self._ask(inbox, events, size - self._bytes)
                if self._request.refused:
                    await asyncio.sleep(jitter(1.0))
        finally:
            # What the server sent before it handled the unsubscription is in hand after this.
            with suppress(nats.errors.Error):
                await within(2.0, subscription.drain())  # type: ignore[no-untyped-call]  # nats-py has no types here

    def ask_again(self) -> None:
        """Forget the open request: the connection it was sent over is gone."""
        self._request.forget()
        self._wake.set()

    async def _ask(self, inbox: str, events: int, size: int) -> None:
        request = {"batch": events, "max_bytes": size, "expires": int(PULL_SECONDS * 1e9)}
        self._request.open(events)
        await self._client.publish(self._next, msgspec.json.encode(request), reply=inbox)
        # Longer than the server keeps it: a request lost in a reconnection is repeated.
        deadline = time.monotonic() + PULL_SECONDS + 1.0
        while self._request.is_open and (left := deadline - time.monotonic()) > 0:
            await self._awoken(left)

    async def _awoken(self, seconds: float) -> None:
        self._wake.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    async def _arrived(self, msg: Msg) -> None:
        if not msg.reply.startswith(ACK):
            self._request.ended(msg.headers or {})
            self._wake.set()
            return
        self._request.arrived()
        self._bytes += len(msg.data)
        self._keep_alive(msg)
        self._counts.last_at = time.time()
        self.pending = msg.metadata.num_pending
        self._start(self._delivery.run(msg)).add_done_callback(functools.partial(self._finished, msg))

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    def _finished(self, msg: Msg, _: asyncio.Task[None]) -> None:
        self._in_hand.pop(id(msg)).cancel()
        self._bytes -= len(msg.data)
        self._wake.set()

    def _keep_alive(self, msg: Msg, *, told: bool = True) -> None:
        """Tell the server three times per `ack_wait` that the event is still being worked on."""
        if not told:
            self._start(self._delivery.tell(msg.in_progress()))
        later = functools.partial(self._keep_alive, msg, told=False)
        self._in_hand[id(msg)] = asyncio.get_running_loop().call_later(self._ack_wait / 3, later)


def _refusal(headers: Mapping[str, str]) -> str:
    """The server's words on one line: after a status without words nats-py takes the headers for its words."""
    return headers.get("Description", "").partition("\n")[0].strip() or f"status {headers.get('Status', 'unknown')}"
