"""What the service does with an event: one table from subject to message type and handler. It does not know NATS."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from app.decisions.errors import Gone, Refused, Unfit
from app.messages.decoding import decoded
from app.messages.events import DecisionReward, TaskSynced, TipFeedback

__all__ = ["HANDLERS", "MAX_EVENT_BYTES", "MAX_FIELDS", "Event", "Malformed", "TaskSync", "Uses", "handle"]

_log: Final = logging.getLogger("oo.events")
MAX_EVENT_BYTES: Final = 262_144
MAX_FIELDS: Final = 1_000


class Event(msgspec.Struct, frozen=True):
    """One event as the stream holds it; `stored_at` is when the stream took it, in Unix seconds."""

    subject: str
    body: bytes
    stored_at: float


class Malformed(Exception):
    """The event can never be handled, however often it is delivered; the message says why."""


class TaskSync(Protocol):
    """The use-case behind `signals.task.synced`."""

    async def synced(self, user_id: str, fields: dict[str, str], received_at: float) -> None:
        """Replace the stored synchronisation of the user's tasks, unless the stored one is newer.

        Repeating a call must change nothing: an event may be delivered twice.
        Raises StoreUnavailable or ConflictError.
        """
        ...


def _text(raw: msgspec.Raw) -> str:
    """A JSON value as text: a string as it is, anything else in its JSON form, so that no number loses a digit."""
    encoded = bytes(raw)
    return msgspec.json.decode(encoded, type=str) if encoded.startswith(b'"') else encoded.decode()


_fields: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


async def _task_synced(event: Event, message: TaskSynced, uses: "Uses") -> None:
    fields = decoded(_fields.decode, event.body)
    if len(fields) > MAX_FIELDS:
        raise Malformed(f"{len(fields)} fields, more than {MAX_FIELDS}")
    await uses.sync.synced(message.user_id, {name: _text(raw) for name, raw in fields.items()}, event.stored_at)


async def _decision_reward(_event: Event, message: DecisionReward, uses: "Uses") -> None:
    try:
        await uses.reward(message.decision_id, message.reward, message.part)
    except (Gone, Refused, Unfit) as error:
        raise Malformed(str(error)) from None


async def _tip_feedback(event: Event, message: TipFeedback, _uses: "Uses") -> None:
    # Only the ids: the rest of such an event may hold what people wrote, which does not belong in a log.
    at = datetime.fromtimestamp(event.stored_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    _log.info("tip feedback", extra={"user_id": message.user_id, "tip_id": message.tip_id, "stored_at": at})


class Uses(NamedTuple):
    """The use-cases behind the events.

    `reward` learns the outcome of a decision once, however often it is told. It raises NotKnown for a decision that may
    yet come, Gone, Refused and Unfit for what will never be right, and StoreUnavailable or ConflictError.
    """

    sync: TaskSync
    reward: Callable[[str, float, str | None], Awaitable[object]]


class Handler(NamedTuple):
    """How the events of one subject are read and handled."""

    message: type[msgspec.Struct]
    run: Callable[[Event, Any, Uses], Awaitable[None]]


HANDLERS: Final[Mapping[str, Handler]] = {
    "signals.task.synced": Handler(TaskSynced, _task_synced),
    "signals.tip.feedback": Handler(TipFeedback, _tip_feedback),
    "feedback.decision.reward": Handler(DecisionReward, _decision_reward),
}


async def handle(event: Event, uses: Uses) -> None:
    """Do what the table says; an event with another subject needs no work.

    Raises Malformed, and what `uses` raise, but for errors that are final.
    """
    handler = HANDLERS.get(event.subject)
    if handler is None:
        return
    if len(event.body) > MAX_EVENT_BYTES:
        raise Malformed(f"{len(event.body)} bytes, more than {MAX_EVENT_BYTES}")
    try:
        message = decoded(lambda body: msgspec.json.decode(body, type=handler.message), event.body)
        await handler.run(event, message, uses)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Malformed(str(error)) from None
    except RecursionError:
        raise Malformed("nested too deeply") from None
