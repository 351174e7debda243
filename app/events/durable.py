"""One of the two durable consumers: on which streams it is, whether it is as we want it, and pulling from it."""

import asyncio
import logging
from collections.abc import Callable
from enum import Enum
from typing import Any, Final

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.errors import NoRespondersError
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, ConsumerInfo
from nats.js.errors import APIError, NotFoundError, ServiceUnavailableError

from app.events.counts import Counts
from app.events.pull import Pull
from app.events.waiting import end, grow, jitter
from app.settings import Settings

__all__ = ["LEAVE_SECONDS", "SUBJECTS", "Consumer", "api_of"]

log = logging.getLogger("oo.events")

SUBJECTS: Final = {"signals": "signals.>", "feedback": "feedback.>"}
DEAD_LETTERS: Final = "dlq.>"
ACK_WAIT_SECONDS: Final = 10.0  # a replica that died keeps its events from the others so long
# Events that wait for a later delivery count too: so many may fail before the others have to wait.
MAX_ACK_PENDING: Final = 10_000
LOOK_SECONDS: Final = 5.0  # between two looks at the streams and durables
LONGEST_PAUSE_SECONDS: Final = 30.0  # between two looks for a stream that is not there
API_SECONDS: Final = 5.0
LEAVE_SECONDS: Final = 2.5  # to unsubscribe


class _StreamNames(msgspec.Struct):
    streams: list[str] | None = None
    error: dict[str, Any] | None = None


def api_of(domain: str) -> str:
    """The start of the subjects on which JetStream's API answers.

    https://docs.nats.io/running-a-nats-service/configuration/leafnodes/jetstream_leafnodes
    """
    return f"$JS.{domain}.API" if domain else "$JS.API"


async def _streams_of(client: Client, api: str, subject: str) -> list[str]:
    """The streams that hold some of `subject`, by name; nats-py's own question tells the first only."""
    question = msgspec.json.encode({"subject": subject})
    reply = await client.request(f"{api}.STREAM.NAMES", question, timeout=API_SECONDS)
    answer = msgspec.json.decode(reply.data, type=_StreamNames)
    if answer.error is not None:
        raise ServiceUnavailableError(description=str(answer.error.get("description", "refused")))
    return answer.streams or []


def _set(config: ConsumerConfig, name: str) -> object:
    """A setting in plain words; what is not set may be missing, empty or 0 and is None here."""
    value = getattr(config, name)
    return (value.value if isinstance(value, Enum) else value) or None


def _words(error: Exception) -> str:
    said = error.description if isinstance(error, APIError) else str(error)
    return said or type(error).__name__


class Consumer:
    """One durable, of the same name on every stream that holds some of its subject (there may be several)."""

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
        """Events in the streams that no replica was given yet, as of the last look."""
        return sum(pull.pending for pull in self.pulls.values())

    async def run(self, client: Client) -> None:
        """Find the streams, make or check the durable on each and pull from it, and look again from time to time."""
        self.pulls.clear()
        self._running.clear()
        self.looked = False
        jetstream = client.jetstream(timeout=API_SECONDS, domain=self._domain or None)
        pause = 0.25
        try:
            while True:
                if client.is_connected:
                    looked = False
                    try:
                        self._report(await self._look(client, jetstream))
                        self.counts.pending(self.pending)
                        looked = True
                    except NoRespondersError:
                        self._report(
                            f"no JetStream answers for the domain {self._domain}"
                            if self._domain
                            else "the server has no JetStream"
                        )
                    except (nats.errors.Error, TimeoutError) as error:
                        self._report(f"JetStream does not answer as expected: {_words(error)}")
                    self.looked = looked
                for task in self._running.values():
                    if task.done():
                        task.result()
                pause = LOOK_SECONDS if self.pulls else grow(pause, LONGEST_PAUSE_SECONDS)
                await asyncio.sleep(jitter(pause))
        finally:
            await end(self._running.values(), LEAVE_SECONDS)

    def _report(self, problem: str | None) -> None:
        if problem is not None and problem != self.problem:
            log.warning("consumer %s: %s", self._name, problem)
        self.problem = problem

    async def _look(self, client: Client, jetstream: JetStreamContext) -> str | None:
        """Bring what is pulled from in line with the streams there are; says what an operator should know.

        The trouble with one stream is a part of that; the others are consumed.
        """
        problems = await self._make_missing(client, jetstream) if self._create_streams else []
        streams = await _streams_of(client, self._api, self._subject)
        if not streams:
            problems.append(f"no stream has {self._subject}")
        if not await _streams_of(client, self._api, self._letters):
            problems.append(f"no stream takes {self._letters}, so what cannot be handled comes again")
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
            useless = bool(info.config.deliver_subject or info.config.headers_only)
            problems += self._differences(info, useless=useless)
            if not useless:
                kept.add(stream)
                self._pull_from(client, stream, info)
                if info.paused:
                    problems.append(
                        f"durable {self._durable} on stream {stream} is paused until {info.config.pause_until}"
                    )
                problems += [f"stream {stream}: {words}" for words in self.pulls[stream].problems]
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
            if not await _streams_of(client, self._api, part):
                try:
                    await jetstream.add_stream(name=name, subjects=[subject])
                except NoRespondersError:
                    raise
                except (nats.errors.Error, TimeoutError) as error:
                    problems.append(f"stream {name} cannot be made: {_words(error)}")
        return problems

    async def _durable_on(self, jetstream: JetStreamContext, stream: str) -> ConsumerInfo:
        # Asked first: to add one that exists with other settings would silently change it.
        try:
            info: ConsumerInfo = await jetstream.consumer_info(stream, self._durable)
        except NotFoundError:
            info = await jetstream.add_consumer(stream, self._wanted())
            log.info("consumer %s: made durable %s on stream %s", self._name, self._durable, stream)
            if stream in self.pulls:  # the durable was deleted, and the open request with it
                self.pulls[stream].ask_again()
        return info

    def _wanted(self) -> ConsumerConfig:
        # Nothing here depends on a setting that replicas may disagree about while a new version is rolled out.
        return ConsumerConfig(
            name=self._durable,
            durable_name=self._durable,
            filter_subject=self._subject,
            ack_wait=ACK_WAIT_SECONDS,
            max_deliver=-1,
            max_ack_pending=MAX_ACK_PENDING,
        )

    def _differences(self, info: ConsumerInfo, *, useless: bool) -> list[str]:
        wanted = self._wanted()
        names = (
            "deliver_subject",
            "headers_only",
            "filter_subject",
            "deliver_policy",
            "replay_policy",
            "ack_policy",
            "ack_wait",
            "max_deliver",
            "max_ack_pending",
            "backoff",
            "inactive_threshold",
        )
        found = [
            f"{name} {given} instead of {expected}"
            for name in names
            if (given := _set(info.config, name)) != (expected := _set(wanted, name))
        ]
        if not found:
            return []
        unusable = " and cannot be used" if useless else ""
        return [f"durable {info.name} on stream {info.stream_name} was left as it is{unusable}: {', '.join(found)}"]

    def _pull_from(self, client: Client, stream: str, info: ConsumerInfo) -> None:
        pull = self.pulls.get(stream)
        if pull is None:
            pull = self.pulls[stream] = self._new_pull(client, stream, self._durable, self.counts)
            self._running[stream] = asyncio.get_running_loop().create_task(pull.run())
            log.info("consumer %s: pulls from stream %s", self._name, stream)
        pull.pending = info.num_pending or 0
        pull.paused = bool(info.paused)
        limits = [limit for limit in (self._max_deliver, info.config.max_deliver or -1) if limit > 0]
        pull.max_deliver = min(limits)
        pull.ack_wait = min([info.config.ack_wait or ACK_WAIT_SECONDS, *(info.config.backoff or [])])
