"""The log as a JetStream stream: some lines of one loop in each message, by an acknowledgement on the servers' disks.

Subjects hold the name of a loop and nothing of a user. The stream drops lines by age alone: one that is full refuses
new ones, so nothing is lost unseen.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Final

import msgspec
import nats.errors
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import APIError, NoStreamResponseError, NotFoundError, ServiceUnavailableError

from app.decision_log.lines import LONGEST, Line, State
from app.decision_log.place import PlaceError

__all__ = ["NAME", "Message", "Stream", "loop_of"]

NAME: Final = "decisions"
_SUBJECTS: Final = f"{NAME}.>"
# No loop has this name, since theirs begin with a letter or digit.
_NO_LOOP: Final = "_state"
_LINES: Final = 64
_HEADERS: Final = 1_024  # their bytes count in the size of a message
_AT_ONCE: Final = 16
_AWAY: Final = (nats.errors.NoRespondersError, NoStreamResponseError, ServiceUnavailableError)
# JetStream's number for "no message found".
_NO_MESSAGE: Final = 10_037


class Message(msgspec.Struct, frozen=True):
    """A message of the stream: its number, and its lines."""

    number: int
    lines: list[bytes]


def loop_of(line: Line) -> str:
    """The loop by which a line is published; "" for one that belongs to none."""
    return "" if isinstance(line, State) and line.what != "loop" else line.loop


class Stream:
    """The stream behind `jetstream`; one that does not exist is made, to keep lines for `age` seconds (0: forever) in
    so many `replicas`. All methods raise PlaceError."""

    def __init__(self, jetstream: JetStreamContext, *, age: float = 0, replicas: int = 1) -> None:
        self._jetstream = jetstream
        self._config = StreamConfig(
            name=NAME,
            description="The log of decisions",
            subjects=[_SUBJECTS],
            retention=RetentionPolicy.LIMITS,
            discard=DiscardPolicy.NEW,
            storage=StorageType.FILE,
            max_age=age,
            max_msg_size=LONGEST + _HEADERS,
            num_replicas=replicas,
        )

    async def open(self) -> None:
        """Make the stream if it is missing; one that exists stays as its operator has it."""
        try:
            try:
                found = (await self._jetstream.stream_info(NAME)).config
            except NotFoundError:
                found = (await self._jetstream.add_stream(self._config)).config
        except (nats.errors.Error, TimeoutError) as error:
            raise _failed(error) from None
        if _SUBJECTS not in (found.subjects or []):
            raise PlaceError(f"the stream {NAME} lacks the subjects {_SUBJECTS}")
        if found.discard != DiscardPolicy.NEW or found.retention != RetentionPolicy.LIMITS:
            raise PlaceError(f"the stream {NAME} would drop lines: it needs retention limits and discard new")

    async def write(self, lines: Iterable[tuple[str, bytes]]) -> None:
        """Publish lines, each with its loop, and return when all are acknowledged.

        After an error some may be in the stream: the caller publishes all of them again, and readers take each once.
        """
        messages = list(_packed(lines))
        for at in range(0, len(messages), _AT_ONCE):
            sending = [
                self._jetstream.publish(subject, payload, stream=NAME)
                for subject, payload in messages[at : at + _AT_ONCE]
            ]
            for result in await asyncio.gather(*sending, return_exceptions=True):
                if isinstance(result, nats.errors.Error | TimeoutError):
                    raise _failed(result)
                if isinstance(result, BaseException):
                    raise result

    async def first(self) -> int:
        """The number of the oldest message that is still there, or of the next one."""
        try:
            return (await self._jetstream.stream_info(NAME)).state.first_seq
        except (nats.errors.Error, TimeoutError) as error:
            raise _failed(error) from None

    async def read(self, after: int = 0) -> AsyncIterator[Message]:
        """The messages behind the number `after`, up to the last one there is."""
        while True:
            try:
                found = await self._jetstream.get_msg(NAME, seq=after + 1, subject=_SUBJECTS, next=True)
            except NotFoundError as error:
                if error.err_code == _NO_MESSAGE:
                    return
                raise _failed(error) from None
            except (nats.errors.Error, TimeoutError) as error:
                raise _failed(error) from None
            after = found.seq or after + 1
            yield Message(after, (found.data or b"").splitlines())


def _packed(lines: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    """Subjects and payloads: lines of one loop in their order, up to 64 and 512 KiB in a message."""
    waiting: dict[str, list[bytes]] = {}
    sizes: dict[str, int] = {}
    for loop, line in lines:
        subject = f"{NAME}.{loop or _NO_LOOP}"
        kept = waiting.setdefault(subject, [])
        size = sizes.get(subject, 0) + len(line) + bool(kept)
        if len(kept) == _LINES or (kept and size > LONGEST):
            yield subject, b"\n".join(kept)
            kept.clear()
            size = len(line)
        kept.append(line)
        sizes[subject] = size
    for subject, kept in waiting.items():
        yield subject, b"\n".join(kept)


def _failed(error: BaseException) -> PlaceError:
    """The error in one line: messages of servers since 2.14 have several."""
    # A full stream is not available either, but says so.
    if isinstance(error, _AWAY) and not getattr(error, "description", None):
        return PlaceError(f"no JetStream answers for the stream {NAME}")
    if isinstance(error, TimeoutError):
        return PlaceError("NATS did not answer in time")
    told = (error.description if isinstance(error, APIError) else str(error)) or type(error).__name__
    return PlaceError(f"the stream {NAME}: {told.splitlines()[0]}")
