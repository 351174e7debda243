"""One of the two durable consumers: find its streams, make or check the durable on each, and pull from it."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.errors import NoRespondersError
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, ConsumerInfo
from nats.js.errors import APIError, NotFoundError, ServiceUnavailableError

from app.events import durable_config
from app.events.counts import Counts
from app.events.pull import Pull
from app.events.waiting import backoff, end, jitter
from app.settings import Settings

__all__ = ["LEAVE_SECONDS", "SUBJECTS", "Consumer", "api_of", "streams_of"]

_log: Final = logging.getLogger("oo.events")

SUBJECTS: Final = {"signals": "signals.>", "feedback": "feedback.>"}
DEAD_LETTERS: Final = "dlq.>"
LOOK_SECONDS: Final = 5.0  # between two looks at the streams and durables
FIRST_PAUSE_SECONDS: Final = 0.5  # between two looks for a stream that is missing
LONGEST_PAUSE_SECONDS: Final = 30.0
API_SECONDS: Final = 5.0
LEAVE_SECONDS: Final = 2.5  # to unsubscribe


class _StreamNames(msgspec.Struct):
    streams: list[str] | None = None
    error: dict[str, Any] | None = None


def api_of(domain: str) -> str:
    """The start of the subjects of JetStream's API in this domain, or without one ("").

    https://docs.nats.io/running-a-nats-service/configuration/leafnodes/jetstream_leafnodes
    """
    return f"$JS.{domain}.API" if domain else "$JS.API"


async def streams_of(client: Client, api: str, subject: str) -> list[str]:
    """The names of the streams that hold some of `subject`; nats-py's own call returns only the first."""
    request = msgspec.json.encode({"subject": subject})
    reply = await client.request(f"{api}.STREAM.NAMES", request, timeout=API_SECONDS)
    answer = msgspec.json.decode(reply.data, type=_StreamNames)
    if answer.error is not None:
        raise ServiceUnavailableError(description=str(answer.error.get("description", "refused")))
    return answer.streams or []


def _words(error: Exception) -> str:
    said = error.description if isinstance(error, APIError) else str(error)
    return said or type(error).__name__


class Consumer:
    """One durable, of the same name on every stream that holds some of its subject; there may be several."""

    def __init__(
        self, name: str, settings: Settings, counts: Counts, new_pull: Callable[[Client, str, str, Counts], Pull]
    ) -> None:
        self._name = name
        self._subject = SUBJECTS[name]
        self._letters = f"dlq.{self._subject}"
        self._durable = f"{settings.nats_durable_prefix}-{name}"
        self._domain = settings.nats_jetstream_domain
        self._api = api_of(self._domain)
        self._max_deliver = settings.nats_max_deliver
        self._create_streams = settings.nats_create_streams
        self._new_pull = new_pull
        self._running: dict[str, asyncio.Task[None]] = {}
        self.counts = counts
        self.pulls: dict[str, Pull] = {}
        self.problem: str | None = None
        self.looked = False  # whether the last look at the streams succeeded

    @property
    def paused(self) -> bool:
        """Whether an operator has paused the durable on every stream, as of the last look."""
        return bool(self.pulls) and all(pull.paused for pull in self.pulls.values())

    @property
    def pending(self) -> int:
        """Events in the streams that have not been delivered to any replica yet, as of the last look or event."""
        return sum(pull.pending for pull in self.pulls.values())

    async def run(self, client: Client) -> None:
        """Find the streams, make or check the durable on each and pull from it; look again every `LOOK_SECONDS`."""
        self.pulls.clear()
        self._running.clear()
        self.looked = False
        jetstream = client.jetstream(timeout=API_SECONDS, domain=self._domain or None)
        failures = 0
        try:
            while True:
                if client.is_connected:
                    self.looked = await self._look(client, jetstream)
                for task in self._running.values():
                    if task.done():
                        task.result()
                if self.pulls:
                    failures = 0
                    await asyncio.sleep(jitter(LOOK_SECONDS))
                else:
                    await asyncio.sleep(backoff(failures, first=FIRST_PAUSE_SECONDS, longest=LONGEST_PAUSE_SECONDS))
                    failures += 1
        finally:
            await end(self._running.values(), LEAVE_SECONDS)

    def _report(self, problem: str | None) -> None:
        if problem is not None and problem != self.problem:
            _log.warning("consumer %s: %s", self._name, problem)
        self.problem = problem

    async def _look(self, client: Client, jetstream: JetStreamContext) -> bool:
        """Look at the streams and durables, and report what is wrong. Returns whether JetStream answered."""
        try:
            self._report(await self._follow(client, jetstream))
        except NoRespondersError:
            no_domain = "the server has no JetStream"
            self._report(f"no JetStream answers for the domain {self._domain}" if self._domain else no_domain)
            return False
        except (nats.errors.Error, TimeoutError) as error:
            self._report(f"JetStream does not answer as expected: {_words(error)}")
            return False
        self.counts.pending(self.pending)
        return True

    async def _follow(self, client: Client, jetstream: JetStreamContext) -> str | None:
        """Pull from each stream that has events, and no longer from others; returns what an operator should know.

        A stream that cannot be used is part of that, and the others are consumed all the same.
        """
        problems = await self._make_missing(client, jetstream) if self._create_streams else []
        streams = await streams_of(client, self._api, self._subject)
        if not streams:
            problems.append(f"no stream has {self._subject}")
        if not await streams_of(client, self._api, self._letters):
            problems.append(f"no stream takes {self._letters}, so events that cannot be handled come again")
        kept = set()
        for stream in streams:
            try:
                info = await self._durable_on(jetstream, stream)
            except NoRespondersError:
                raise
            except (nats.errors.Error, TimeoutError) as error:
                problems.append(f"durable {self._durable} on stream {stream} cannot be looked at: {_words(error)}")
                kept.add(stream)
                continue
            problems += self._differences(info)
            if durable_config.is_usable(info.config):
                kept.add(stream)
                problems += self._pull_from(client, stream, info)
        for stream in set(self.pulls) - kept:
            del self.pulls[stream]
            await end([self._running.pop(stream)], LEAVE_SECONDS)
        return "; ".join(problems) or None

    async def _make_missing(self, client: Client, jetstream: JetStreamContext) -> list[str]:
        problems = []
        for name, subject, part in (
            (self._name, self._subject, self._subject),
            ("dlq", DEAD_LETTERS, self._letters),
        ):
            if not await streams_of(client, self._api, part):
                try:
                    await jetstream.add_stream(name=name, subjects=[subject])
                except NoRespondersError:
                    raise
                except (nats.errors.Error, TimeoutError) as error:
                    problems.append(f"stream {name} cannot be made: {_words(error)}")
        return problems

    async def _durable_on(self, jetstream: JetStreamContext, stream: str) -> ConsumerInfo:
        # Looked for first: adding one that exists with other settings would silently change it.
        try:
            info: ConsumerInfo = await jetstream.consumer_info(stream, self._durable)
        except NotFoundError:
            info = await jetstream.add_consumer(stream, self._wanted())
            _log.info("consumer %s: made durable %s on stream %s", self._name, self._durable, stream)
            if stream in self.pulls:  # the open request was deleted together with the durable
                self.pulls[stream].ask_again()
        return info

    def _wanted(self) -> ConsumerConfig:
        return durable_config.wanted(self._durable, self._subject)

    def _differences(self, info: ConsumerInfo) -> list[str]:
        differences = durable_config.differences(info.config, self._wanted())
        if not differences:
            return []
        unusable = "" if durable_config.is_usable(info.config) else " and cannot be used"
        words = ", ".join(differences)
        return [f"durable {info.name} on stream {info.stream_name} was left as it is{unusable}: {words}"]

    def _pull_from(self, client: Client, stream: str, info: ConsumerInfo) -> list[str]:
        """Pull from this stream if that is not done yet; returns what keeps its events from arriving."""
        pull = self.pulls.get(stream)
        if pull is None:
            pull = self.pulls[stream] = self._new_pull(client, stream, self._durable, self.counts)
            self._running[stream] = asyncio.get_running_loop().create_task(pull.run())
            _log.info("consumer %s: pulls from stream %s", self._name, stream)
        pull.update(
            pending=info.num_pending or 0,
            paused=bool(info.paused),
            max_deliver=durable_config.max_deliver(info.config, self._max_deliver),
            ack_wait=durable_config.ack_wait(info.config),
        )
        problems = [f"stream {stream}: {problem}" for problem in pull.problems]
        if info.paused:
            problems.insert(0, f"durable {self._durable} on stream {stream} is paused until {info.config.pause_until}")
        return problems
