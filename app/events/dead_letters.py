"""Dead letters: what is published to `dlq.<subject>` for an event that cannot be handled, and how it is replayed."""

import re
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

__all__ = ["MALFORMED", "Letter", "dead_letter", "letter_at", "letters", "publish", "replay", "stored_at"]

MALFORMED: Final = "malformed: "  # how the reason of an event begins that no handler can take

PUBLISH_SECONDS: Final = 5.0
_STORED_AT: Final = "Dlq-Stored-At"
_LETTERS: Final = "dlq."
_CUT: Final = "Dlq-Cut"
# Headers of a dead letter that are not the event's own.
_OF_THE_LETTER: Final = ("dlq-", "nats-", "original-")
_TIME: Final = "%Y-%m-%dT%H:%M:%S.%fZ"
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# NATS acts on these headers; in a dead letter it would do so a second time.
_SPECIAL: Final = ("nats-", "status", "description")


def stored_at(msg: Msg) -> datetime:
    """When a stream first took the event; a dead letter that is published again keeps that time.

    Between 1970 and the time of its present stream, whatever its header says.
    """
    taken: datetime = msg.metadata.timestamp
    try:
        first = datetime.strptime((msg.headers or {}).get(_STORED_AT, ""), _TIME).replace(tzinfo=UTC)
    except ValueError:
        return taken
    return max(min(first, taken), datetime.fromtimestamp(0, UTC))


def _own_headers(msg: Msg, reason: str) -> dict[str, str]:
    meta = msg.metadata
    return {
        "Dlq-Reason": " ".join(reason.split()).encode("ascii", "backslashreplace").decode()[:500],
        "Dlq-Stream": meta.stream,
        "Dlq-Sequence": str(meta.sequence.stream),
        "Dlq-Delivered": str(meta.num_delivered),
        _STORED_AT: stored_at(msg).strftime(_TIME),
        # With the time, since a stream that was deleted and made again counts from 1.
        "Nats-Msg-Id": f"dlq.{meta.stream}.{meta.sequence.stream}.{meta.timestamp.timestamp():.6f}",
    }


def dead_letter(
    msg: Msg, reason: str, max_payload: int, more: Mapping[str, str] | None = None
) -> tuple[dict[str, str], bytes]:
    """Headers, `more` among them, and body of the dead letter.

    Both are cut to `max_payload` bytes: the server closes a connection that sends more.
    """
    own = _own_headers(msg, reason) | dict(more or {})
    originals = {
        f"Original-{name}" if name.lower().startswith(_SPECIAL) else name: value
        for name, value in (msg.headers or {}).items()
        if _TOKEN.fullmatch(name) and name.lower() not in own
    }
    headers = originals | own
    if _size(headers) + len(msg.data) <= max_payload:
        return headers, msg.data
    own[_CUT] = f"headers left out; the body had {len(msg.data)} bytes"
    return own, msg.data[: max_payload - _size(own)]


def _size(headers: dict[str, str]) -> int:
    return 12 + sum(len(name) + len(value.encode()) + 4 for name, value in headers.items())


class _Reply(msgspec.Struct):
    seq: int = 0
    error: dict[str, Any] | None = None


async def publish(client: Client, subject: str, headers: dict[str, str], body: bytes) -> None:
    """Publish a dead letter; raises unless a stream acknowledged it, whatever else may answer there."""
    reply = await client.request(subject, body, timeout=PUBLISH_SECONDS, headers=headers)
    acknowledged = msgspec.json.decode(reply.data, type=_Reply)
    if acknowledged.error is not None or acknowledged.seq == 0:
        raise nats.errors.Error(f"refused: {(acknowledged.error or {}).get('description')}")


class Letter(msgspec.Struct, frozen=True):
    """A dead letter in `stream`, and the event in it. `why_not` says why it cannot be replayed, or is None."""

    stream: str
    sequence: int
    subject: str
    headers: dict[str, str]
    body: bytes

    @property
    def reason(self) -> str:
        return self.headers.get("Dlq-Reason", "it does not say why")

    @property
    def why_not(self) -> str | None:
        if self.reason.startswith(MALFORMED):
            return "it would become a dead letter again"
        return "it is cut, since it was too large" if _CUT in self.headers else None


async def letter_at(jetstream: JetStreamContext, stream: str, sequence: int) -> Letter | None:
    """The first dead letter in `stream` whose number is at least `sequence`."""
    try:
        found = await jetstream.get_msg(stream, sequence, subject=f"{_LETTERS}>", next=True)
    except NotFoundError:
        return None
    return Letter(
        stream,
        found.seq or 0,
        (found.subject or "").removeprefix(_LETTERS),
        {name: str(value) for name, value in (found.headers or {}).items()},
        found.data or b"",
    )


async def letters(jetstream: JetStreamContext, stream: str) -> AsyncIterator[Letter]:
    """The dead letters that `stream` has now, oldest first; not those that come while they are read."""
    state = (await jetstream.stream_info(stream)).state
    sequence = state.first_seq
    while letter := await letter_at(jetstream, stream, sequence):
        if letter.sequence > state.last_seq:
            return
        yield letter
        sequence = letter.sequence + 1


async def replay(jetstream: JetStreamContext, letter: Letter) -> None:
    """Publish the event again and remove its dead letter.

    It keeps the time at which a stream first took it, so it does not overwrite what came later. Should this end between
    the two steps, the event is published again the next time; its id has the stream drop it, and later its handler
    takes it for one that it knows.
    """
    headers = {
        name: value
        for name, value in letter.headers.items()
        if name == _STORED_AT or not name.lower().startswith(_OF_THE_LETTER)
    }
    headers["Nats-Msg-Id"] = f"replay.{letter.stream}.{letter.sequence}.{letter.headers.get('Nats-Msg-Id', '')}"
    await jetstream.publish(letter.subject, letter.body, headers=headers)
    await jetstream.delete_msg(letter.stream, letter.sequence)
