"""The ids of events: clients choose any text, or none."""

import hashlib
from base64 import urlsafe_b64encode

import msgspec

__all__ = ["LONGEST", "local_id", "made_id"]

LONGEST = 256
_canonical = msgspec.json.Encoder(order="deterministic").encode


def local_id(event_id: str) -> str:
    """The id of our decision for an event: 43 characters, whatever the text."""
    return urlsafe_b64encode(hashlib.sha256(event_id.encode(errors="replace")).digest()).decode().rstrip("=")


def made_id(request: object, request_id: str) -> str:
    """An event id for a request without one: the same for the same request under the same `request_id`, by which a
    client's library marks what it repeats."""
    return hashlib.sha256(_canonical([request_id, request])).hexdigest()[:32]
