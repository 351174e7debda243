"""The service's events: a supervised connection to NATS and the two durable consumers that all replicas share.

NATS is optional: the rest of the service waits for nothing here and is not affected by any failure here.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import unquote

import nats.errors
from nats.aio.client import Client

from app.events.client import Connection, place, servers
from app.events.counts import Counts, Observer, Trace, untraced
from app.events.durable import LEAVE_SECONDS, SUBJECTS, Consumer, api_of
from app.events.handlers import Uses, handle
from app.events.pull import Pull
from app.events.store_gate import StoreGate
from app.events.waiting import backoff, end, within
from app.messages.health import ConsumerHealth, NatsHealth, State
from app.settings import Settings

__all__ = ["Consumers"]

_log: Final = logging.getLogger("oo.events")
RECONNECT_SECONDS: Final = 2
PING_SECONDS: Final = 10  # the connection is given up when three pings in a row are not answered
WATCH_SECONDS: Final = 5.0
GIVE_UP_SECONDS: Final = 120.0  # without a connection, until a new client is made
FIRST_PAUSE_SECONDS: Final = 2.0  # between two clients
LONGEST_PAUSE_SECONDS: Final = 30.0
STOP_SECONDS: Final = 6.0  # beyond the grace period, to disconnect
MAX_SAID: Final = 8  # different log lines about one outage


class Consumers:
    """All that has to do with events: `start` returns at once, `stop` ends within its grace period.

    `uses` are the use-cases behind the events; `ping` asks the store and raises while it is away; `observer` counts.
    `trace` is put around each delivery. `first_nak_seconds` is the delay after a first failed one; it doubles with each
    further one, up to a minute. Raises SettingsError if NATS_URL cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        uses: Uses,
        ping: Callable[[], Awaitable[object]],
        *,
        observer: Observer | None = None,
        trace: Trace = untraced,
        first_nak_seconds: float = 1.0,
    ) -> None:
        self._trace = trace
        self._settings = settings
        self._servers = servers(settings.nats_url)
        self._uses = uses
        self._gate = StoreGate(ping)
        self._first_nak_seconds = first_nak_seconds
        self._deliveries: set[asyncio.Task[None]] = set()
        self._consumers = {name: Consumer(name, settings, Counts(name, observer), self._pull) for name in SUBJECTS}
        self._client: Client | None = None
        self._problem: str | None = None
        self._said: set[str] = set()
        self._running: asyncio.Task[None] | None = None
        self._deadline: float | None = None

    def start(self) -> None:
        """Connect and consume in the background, and do so again whenever the connection is lost."""
        if self._servers:
            _log.info("NATS: %s", place(self._servers))
            self._running = asyncio.get_running_loop().create_task(self._run())

    async def stop(self, grace_seconds: float) -> None:
        """Take no more events, finish those in hand within `grace_seconds`, give back the rest, and disconnect."""
        if self._running is None:
            return
        self._deadline = time.monotonic() + grace_seconds
        self._gate.close()
        await end([self._running], grace_seconds + STOP_SECONDS)

    def health(self) -> NatsHealth:
        """The part `nats` of `/health`."""
        if not self._servers:
            return NatsHealth(enabled=False, consumers={})
        return NatsHealth(enabled=True, consumers={name: self._seen(one) for name, one in self._consumers.items()})

    def _seen(self, consumer: Consumer) -> ConsumerHealth:
        connected = self._client is not None and self._client.is_connected
        state: State = "connecting"
        if connected:
            consumes = consumer.pulls and consumer.looked
            state = "waiting for stream" if not consumes else "paused" if consumer.paused else "running"
        counts, pulls = consumer.counts, consumer.pulls.values()
        last = counts.last_at
        problem = (self._gate.problem or consumer.problem) if connected else self._problem
        return ConsumerHealth(
            state=state,
            last_msg_ts=None if last is None else datetime.fromtimestamp(last, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            processed=counts.of["processed"],
            errors=counts.of["failed"],
            dead_lettered=counts.of["dead_lettered"],
            in_hand=sum(pull.in_hand for pull in pulls),
            pending=consumer.pending,
            problem=problem,
        )

    def _pull(self, client: Client, stream: str, durable: str, counts: Counts) -> Pull:
        return Pull(
            client,
            stream,
            durable,
            handle=lambda event: handle(event, self._uses),
            gate=self._gate,
            counts=counts,
            running=self._deliveries,
            first_nak_seconds=self._first_nak_seconds,
            trace=self._trace,
            api=api_of(self._settings.nats_jetstream_domain),
        )

    async def _run(self) -> None:
        failures = 0
        while True:
            client = Connection()
            closed = asyncio.Event()
            try:
                await self._connect(client, closed)
                failures = 0
                work = [self._watch(client, closed), *(consumer.run(client) for consumer in self._consumers.values())]
                await self._first_to_end(work, LEAVE_SECONDS)
            except Exception as error:  # noqa: BLE001  # whatever ends a connection, another one is made
                self._trouble(error)
            finally:
                await self._leave(client)
            await asyncio.sleep(backoff(failures, first=FIRST_PAUSE_SECONDS, longest=LONGEST_PAUSE_SECONDS))
            failures += 1

    async def _first_to_end(self, work: Iterable[Coroutine[Any, Any, None]], patience: float) -> None:
        """Run all until one ends or raises, then end the others."""
        tasks = [asyncio.get_running_loop().create_task(one) for one in work]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await end(tasks, patience)

    async def _connect(self, client: Client, closed: asyncio.Event) -> None:
        """Connect, waiting until there is a server; afterwards nats-py reconnects on its own."""

        async def on_error(error: Exception) -> None:
            self._trouble(error)

        async def on_disconnect() -> None:
            self._trouble(nats.errors.Error("disconnected"))

        async def on_connect() -> None:
            self._said.clear()
            self._problem = None
            _log.info("NATS: connected")
            for consumer in self._consumers.values():
                for pull in consumer.pulls.values():
                    pull.ask_again()

        async def on_close() -> None:
            closed.set()

        self._client = client
        connecting = client.connect(
            self._servers,
            name=self._settings.nats_durable_prefix,
            user_credentials=self._settings.nats_creds or None,
            max_reconnect_attempts=-1,
            reconnect_time_wait=RECONNECT_SECONDS,
            ping_interval=PING_SECONDS,
            error_cb=on_error,
            disconnected_cb=on_disconnect,
            reconnected_cb=on_connect,
            closed_cb=on_close,
        )
        await self._first_to_end([connecting], 0.1)
        await on_connect()

    async def _watch(self, client: Connection, closed: asyncio.Event) -> None:
        """Raise when nats-py has given the connection up, or should have: some errors end its reading silently."""
        seen = time.monotonic()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(WATCH_SECONDS):
                    await closed.wait()
            if client.is_connected:
                seen = time.monotonic()
            if client.is_closed or time.monotonic() > seen + GIVE_UP_SECONDS:
                raise nats.errors.ConnectionClosedError
            if client.is_connected and not client.reads:
                raise nats.errors.Error("connected, but the client has stopped reading")

    async def _leave(self, client: Connection) -> None:
        if self._deadline is not None and self._deliveries:
            await asyncio.wait(self._deliveries, timeout=max(self._deadline - time.monotonic(), 0))
            for task in self._deliveries:
                task.cancel()
            if self._deliveries:
                await asyncio.wait(self._deliveries, timeout=1.0)
        if client.is_connected and client.reads:
            with suppress(Exception):
                await within(1.5, client.flush())
        # Even if the server does not answer: a client that is not closed would go on forever.
        with suppress(Exception):
            await within(0.5, client.close())

    def _trouble(self, error: Exception) -> None:
        """Keep the error for `/health`, and log it once per outage."""
        self._problem = self._without_secrets(f"{type(error).__name__}: {error}", type(error).__name__)
        if self._deadline is None and self._problem not in self._said and len(self._said) < MAX_SAID:
            self._said.add(self._problem)
            _log.warning("NATS: %s", self._problem)

    def _without_secrets(self, text: str, otherwise: str) -> str:
        for server in self._servers:
            credentials = server.rpartition("@")[0].rpartition("//")[2].split(":", 1)
            secret = credentials[-1]  # the password, or the token that stands alone
            if secret and (secret in text or unquote(secret) in text):
                return otherwise
        return text
