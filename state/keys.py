"""The key schema: which keys a user has in Redis, and what they are called.

Every key of a user carries the user id in braces, so that a Redis Cluster keeps all of them in one slot and one
transaction can change them.
"""

from typing import Final
from urllib.parse import quote

__all__ = ["flight", "history", "marker", "rate", "record", "sync"]

# quote() leaves letters, digits and `_.-~` alone and always writes upper-case hexadecimal.
_LEFT_ALONE: Final = "@:"


def _user(user_id: str) -> str:
    return f"oo:{{{quote(user_id, safe=_LEFT_ALONE)}}}"


def record(user_id: str, policy_id: str) -> str:
    """Hash with A, b and meta of one user under one policy."""
    return f"{_user(user_id)}:{policy_id}"


def history(user_id: str) -> str:
    """List of the user's last decisions, oldest first."""
    return f"{_user(user_id)}:history"


def sync(user_id: str) -> str:
    """Hash with the last sync of the user's tasks."""
    return f"{_user(user_id)}:sync"


def marker(user_id: str, policy_id: str, idempotency_key: str) -> str:
    """String that says which reward an idempotency key stood for; it expires."""
    return f"{_user(user_id)}:{policy_id}:once:{quote(idempotency_key, safe=_LEFT_ALONE)}"


def flight(lane: str, user_id: str | None) -> str:
    """String with the last operation id of one lane of one replica, in the slot of `user_id` if one is given; it
    expires."""
    return f"oo:flight:{lane}" if user_id is None else f"{_user(user_id)}:flight:{lane}"


def rate(name: str) -> str:
    """Counter of the requests an API key sent in the current second; it expires."""
    return f"oo:rate:{name}"
