"""Dead letters: what is published to `dlq.<subject>` for an event that cannot be handled."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

__all__ = ["dead_letter", "publish", "stored_at"]

PUBLISH_SECONDS: Final = 5.0
_STORED_AT: Final = "Dlq-Stored-At"
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
    own["Dlq-Cut"] = f"headers left out; the body had {len(msg.data)} bytes"
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
