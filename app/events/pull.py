"""One durable pull consumer on one stream: pull, handle, then ack, nak, or dead-letter and terminate.

Rules, in order of importance:

- An event is acked only after its handler returned, so after its write is durable.
- The server delivers without limit (`max_deliver` -1), since at its own limit it drops an event silently. We count: the
  last of NATS_MAX_DELIVER deliveries that fails is dead-lettered, and terminated only once that was acknowledged.
- While the store is away an event is kept in hand and alive instead of being given back: that costs no delivery.
"""

import asyncio
import functools
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any, Final

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from app.events.counts import Counts, Trace, untraced
from app.events.dead_letters import dead_letter, publish, stored_at
from app.events.handlers import Event, Malformed
from app.events.store_gate import StoreGate
from app.events.waiting import grow, jitter, within
from state.errors import StoreUnavailable

__all__ = ["Pull"]

log = logging.getLogger("oo.events")
IN_HAND: Final = 256  # events of one consumer that one replica works on at once
IN_HAND_BYTES: Final = 16_777_216  # so a flood of large events takes no more memory
PULL_SECONDS: Final = 10.0  # how long one request for events stays open at the server
HOLD_SECONDS: Final = 60.0  # how long an event waits in hand for the store before another replica may have it
LONGEST_NAK_SECONDS: Final = 60.0
ACK: Final = "$JS.ACK."


class Pull:
    """The part of one durable that this process handles.

    `tasks` is where the events in hand live; it belongs to the caller, who waits for them at a stop. `api` is the start
    of JetStream's subjects, which depends on its domain.
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
        tasks: set[asyncio.Task[None]],
        first_nak_seconds: float,
        trace: Trace = untraced,
        api: str = "$JS.API",
    ) -> None:
        self._client = client
        self._trace = trace
        self._next = f"{api}.CONSUMER.MSG.NEXT.{stream}.{durable}"
        self._handle = handle
        self._gate = gate
        self._counts = counts
        self._tasks = tasks
        self._first_nak_seconds = first_nak_seconds
        self._in_hand: dict[int, asyncio.TimerHandle] = {}
        self._bytes = 0
        self._asked = 0
        self._filled = 0
        self._refused = False
        self._refusal: str | None = None
        self._unburied: str | None = None
        self._wake = asyncio.Event()
        self.max_deliver = 1
        self.ack_wait = 30.0
        self.pending = 0
        self.paused = False

    @property
    def in_hand(self) -> int:
        return len(self._in_hand)

    @property
    def problems(self) -> list[str]:
        """What keeps events from arriving, or from becoming dead letters."""
        found = {"nothing is delivered": self._refusal, "a dead letter was not taken": self._unburied}
        return [f"{what}: {words}" for what, words in found.items() if words]

    async def run(self) -> None:
        """Ask for events and hand each to a task of its own, until cancelled; then take none that is not in hand.

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
                if self._refused:
                    await asyncio.sleep(jitter(1.0))
        finally:
            # What the server sent before it heard of our leaving is in hand after this.
            with suppress(nats.errors.Error):
                await within(2.0, subscription.drain())  # type: ignore[no-untyped-call]  # nats-py does not say

    async def _ask(self, inbox: str, events: int, size: int) -> None:
        request = {"batch": events, "max_bytes": size, "expires": int(PULL_SECONDS * 1e9)}
        self._asked = events
        self._filled = 0
        self._refused = False
        await self._client.publish(self._next, msgspec.json.encode(request), reply=inbox)
        # Longer than the server keeps it: a request lost in a reconnection is repeated.
        deadline = time.monotonic() + PULL_SECONDS + 1.0
        while self._asked > 0 and (left := deadline - time.monotonic()) > 0:
            await self._awoken(left)

    async def _awoken(self, seconds: float) -> None:
        self._wake.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    def ask_again(self) -> None:
        """Forget the open request: the connection it was sent over is gone."""
        self._asked = 0
        self._wake.set()

    async def _arrived(self, msg: Msg) -> None:
        if not msg.reply.startswith(ACK):
            # The server ends the request: it expired (408), is filled to its `max_bytes`, or cannot be served (409).
            headers = msg.headers or {}
            self._refused = headers.get("Status") != "408" and not self._filled
            self._refusal = _refusal(headers) if self._refused else None
            self.ask_again()
            return
        self._refusal = None
        self._asked -= 1
        self._filled += 1
        self._bytes += len(msg.data)
        self._keep_alive(msg)
        self._counts.last_at = time.time()
        self.pending = msg.metadata.num_pending
        self._start(self._deliver(msg)).add_done_callback(functools.partial(self._finished, msg))

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _finished(self, msg: Msg, _: asyncio.Task[None]) -> None:
        self._in_hand.pop(id(msg)).cancel()
        self._bytes -= len(msg.data)
        self._wake.set()

    def _keep_alive(self, msg: Msg, *, told: bool = True) -> None:
        """Have the server told, three times per `ack_wait`, that the event is still being worked on."""
        if not told:
            self._start(self._tell(msg.in_progress()))
        later = functools.partial(self._keep_alive, msg, told=False)
        self._in_hand[id(msg)] = asyncio.get_running_loop().call_later(self.ack_wait / 3, later)

    async def _deliver(self, msg: Msg) -> None:
        try:
            await self._decide(msg)
        except asyncio.CancelledError:
            await self._tell(msg.nak(0.1))  # the grace period is over: another replica may have it
            raise

    async def _decide(self, msg: Msg) -> None:
        delivered = msg.metadata.num_delivered
        event = Event(msg.subject, msg.data, stored_at(msg).timestamp())
        trace: Mapping[str, str] = {}
        try:
            with self._trace(msg.subject, msg.headers or {}) as trace:
                await self._until_the_store_answers(event)
        except Malformed as error:
            self._counts.event("failed")
            await self._bury(msg, f"malformed: {error}", trace)
        except StoreUnavailable:
            await self._give_back(msg)
        except Exception as error:  # noqa: BLE001 (no failure of one event may end the others)
            self._counts.event("failed")
            reason = f"{type(error).__name__}: {error}"
            log.warning("event %s failed in delivery %d: %s", _name(msg), delivered, reason)
            if delivered >= self.max_deliver:
                await self._bury(msg, f"failed {delivered} times, at last with {reason}", trace)
            else:
                await self._give_back(msg)
        else:
            await self._tell(msg.ack())
            self._counts.event("processed")

    async def _until_the_store_answers(self, event: Event) -> None:
        deadline = time.monotonic() + HOLD_SECONDS
        try:
            await self._handle(event)
        except StoreUnavailable as error:
            self._gate.shut(str(error))
            if self._gate.closing:
                raise
        else:
            return
        with self._gate.waiting():
            await self._again(event, deadline)

    async def _again(self, event: Event, deadline: float) -> None:
        pause = 0.1
        while True:
            # On a cluster the store may answer and this user's part of it may not: hence a pause besides.
            await self._gate.pause(jitter(pause))
            with suppress(TimeoutError):
                async with asyncio.timeout(deadline - time.monotonic()):
                    await self._gate.passed()
            pause = grow(pause, 5.0)
            try:
                return await self._handle(event)
            except StoreUnavailable as error:
                self._gate.shut(str(error))
                if self._gate.closing or time.monotonic() >= deadline:
                    raise

    async def _give_back(self, msg: Msg) -> None:
        exponent = min(msg.metadata.num_delivered - 1, 16)
        delay = min(self._first_nak_seconds * 2**exponent, LONGEST_NAK_SECONDS)
        await self._tell(msg.nak(jitter(delay)))

    async def _bury(self, msg: Msg, reason: str, trace: Mapping[str, str]) -> None:
        headers, body = dead_letter(msg, reason, self._client.max_payload, trace)
        try:
            await publish(self._client, f"dlq.{msg.subject}", headers, body)
        except Exception as error:  # noqa: BLE001 (whoever else answers there may answer anything)
            self._unburied = str(error) or type(error).__name__
            log.warning("dead letter of event %s not acknowledged, tried again later: %s", _name(msg), error)
            await self._give_back(msg)
        else:
            self._unburied = None
            self._counts.event("dead_lettered")
            log.warning("event %s dead-lettered: %s", _name(msg), headers["Dlq-Reason"])
            await self._tell(msg.term())

    async def _tell(self, settle: Coroutine[Any, Any, None]) -> None:
        # Lost with the connection? Then the event comes again, which handlers allow.
        with suppress(nats.errors.Error):
            await settle


def _refusal(headers: Mapping[str, str]) -> str:
    """The server's words on one line: nats-py takes the headers after a status without words for its words."""
    return headers.get("Description", "").partition("\n")[0].strip() or f"status {headers.get('Status', 'unknown')}"


def _name(msg: Msg) -> str:
    meta = msg.metadata
    return f"{msg.subject} ({meta.stream} {meta.sequence.stream})"
