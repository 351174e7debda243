"""The end of one event: it is acked, given back, or dead-lettered and terminated.

Rules, in order of importance:

- An event is acked only after its handler returned, so after its write is durable.
- The server delivers without limit (`max_deliver` -1), since at its own limit it drops an event silently. The service
  counts: the last of NATS_MAX_DELIVER deliveries that fails is dead-lettered, and the event is terminated only once the
  dead letter is acknowledged.
- While the store is away an event is kept in hand and alive instead of being given back: that costs no delivery.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any, Final

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from app.events.counts import Counts, Trace
from app.events.dead_letters import MALFORMED, dead_letter, publish, stored_at
from app.events.handlers import Event, Malformed
from app.events.store_gate import StoreGate
from app.events.waiting import backoff
from state.errors import StoreUnavailable

__all__ = ["Delivery"]

_log: Final = logging.getLogger("oo.events")
HOLD_SECONDS: Final = 60.0  # how long an event waits in hand for the store before another replica may have it
LONGEST_NAK_SECONDS: Final = 60.0


class Delivery:
    """Handles the events of one durable, one call of `run` for each delivery.

    `max_deliver` is how many deliveries may fail; `problem` is why the last dead letter was not taken, or None.
    """

    def __init__(
        self,
        client: Client,
        handle: Callable[[Event], Awaitable[None]],
        gate: StoreGate,
        counts: Counts,
        trace: Trace,
        *,
        first_nak_seconds: float,
    ) -> None:
        self._client = client
        self._handle = handle
        self._gate = gate
        self._counts = counts
        self._trace = trace
        self._first_nak_seconds = first_nak_seconds
        self.max_deliver = 1
        self.problem: str | None = None

    async def run(self, msg: Msg) -> None:
        """Handle the event and settle it; cancelled, give it back at once."""
        try:
            await self._settle(msg)
        except asyncio.CancelledError:
            await self.tell(msg.nak(0.1))  # the grace period is over: another replica may have it
            raise

    async def tell(self, answer: Coroutine[Any, Any, None]) -> None:
        """Send the server an answer. If it is lost with the connection, the event comes again, which is harmless."""
        with suppress(nats.errors.Error):
            await answer

    async def _settle(self, msg: Msg) -> None:
        delivered = msg.metadata.num_delivered
        event = Event(msg.subject, msg.data, stored_at(msg).timestamp())
        trace: Mapping[str, str] = {}
        try:
            with self._trace(msg.subject, msg.headers or {}) as trace:
                await self._until_the_store_answers(event)
        except Malformed as error:
            self._counts.event("failed")
            await self._dead_letter(msg, f"{MALFORMED}{error}", trace)
        except StoreUnavailable:
            await self._give_back(msg)
        except Exception as error:  # noqa: BLE001  # the failure of one event must not end the others
            self._counts.event("failed")
            reason = f"{type(error).__name__}: {error}"
            _log.warning("event %s failed in delivery %d: %s", _name(msg), delivered, reason)
            if delivered >= self.max_deliver:
                await self._dead_letter(msg, f"failed {delivered} times, at last with {reason}", trace)
            else:
                await self._give_back(msg)
        else:
            await self.tell(msg.ack())
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
        failures = 0
        while True:
            # The gate may be open while the node of a cluster that holds this user is away: hence a pause besides.
            await self._gate.pause(backoff(failures, first=0.1, longest=5.0))
            with suppress(TimeoutError):
                async with asyncio.timeout(deadline - time.monotonic()):
                    await self._gate.passed()
            try:
                return await self._handle(event)
            except StoreUnavailable as error:
                failures += 1
                self._gate.shut(str(error))
                if self._gate.closing or time.monotonic() >= deadline:
                    raise

    async def _give_back(self, msg: Msg) -> None:
        failures = msg.metadata.num_delivered - 1
        await self.tell(msg.nak(backoff(failures, first=self._first_nak_seconds, longest=LONGEST_NAK_SECONDS)))

    async def _dead_letter(self, msg: Msg, reason: str, trace: Mapping[str, str]) -> None:
        headers, body = dead_letter(msg, reason, self._client.max_payload, trace)
        try:
            await publish(self._client, f"dlq.{msg.subject}", headers, body)
        except Exception as error:  # noqa: BLE001  # another subscriber of the subject may have answered anything
            self.problem = str(error) or type(error).__name__
            _log.warning("dead letter of event %s not acknowledged, will be sent again: %s", _name(msg), error)
            await self._give_back(msg)
        else:
            self.problem = None
            self._counts.event("dead_lettered")
            _log.warning("event %s dead-lettered: %s", _name(msg), headers["Dlq-Reason"])
            await self.tell(msg.term())


def _name(msg: Msg) -> str:
    meta = msg.metadata
    return f"{msg.subject} ({meta.stream} {meta.sequence.stream})"
