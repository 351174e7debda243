"""The key schema: which keys a user has in Redis, and what they are called.

Every key of a user carries the user id in braces, so that a Redis Cluster keeps all of them in one slot and one
transaction can change them.
"""

import re
from functools import lru_cache
from typing import Final
from urllib.parse import quote, unquote

__all__ = [
    "EVERYONE",
    "HISTORY",
    "SYNC",
    "draft",
    "everything",
    "flight",
    "history",
    "is_marker",
    "is_passing",
    "marker",
    "of",
    "parse",
    "rate",
    "record",
    "sync",
]

HISTORY: Final = "history"
SYNC: Final = "sync"
# The glob pattern of all keys of all users.
EVERYONE: Final = "oo:{*}:*"

# quote() leaves letters, digits and `_.-~` alone and always writes upper-case hexadecimal.
_LEFT_ALONE: Final = "@:"
_KEY: Final = re.compile(r"oo:\{(?P<user>[^{}]+)\}:(?P<kind>[\x21-\x7e]+)")
_FLIGHT: Final = "flight:"


@lru_cache(1_024)
def _user(user_id: str) -> str:
    return f"oo:{{{quote(user_id, safe=_LEFT_ALONE)}}}"


def of(user_id: str, kind: str) -> str:
    """The key of a user with this last part. Raises ValueError for an id that is not Unicode."""
    return f"{_user(user_id)}:{kind}"


def parse(key: str) -> tuple[str, str] | None:
    """The user id and the last part of a key, such that `of` makes that key of them; None for a key of no user."""
    found = _KEY.fullmatch(key)
    if found is None:
        return None
    user_id = unquote(found["user"], errors="replace")
    return (user_id, found["kind"]) if of(user_id, found["kind"]) == key else None


def everything(user_id: str) -> str:
    """The glob pattern of all keys of a user; what means something in a pattern is percent-encoded in them."""
    return of(user_id, "*")


def is_marker(kind: str) -> bool:
    """Whether keys with this last part are strings that expire, as `marker` names them."""
    return ":once:" in kind


def is_passing(kind: str) -> bool:
    """Whether keys with this last part are of use to the replica only that wrote them."""
    return kind.startswith(_FLIGHT)


def draft(user_id: str) -> str:
    """The key under which a value is put together within one transaction, before it gets its name."""
    return of(user_id, f"{_FLIGHT}draft")


def record(user_id: str, policy_id: str) -> str:
    """Hash with A, b and meta of one user under one policy."""
    return f"{_user(user_id)}:{policy_id}"


def history(user_id: str) -> str:
    """List of the user's last decisions, oldest first."""
    return of(user_id, HISTORY)


def sync(user_id: str) -> str:
    """Hash with the last sync of the user's tasks."""
    return of(user_id, SYNC)


def marker(user_id: str, policy_id: str, idempotency_key: str) -> str:
    """String that says which reward an idempotency key stood for; it expires."""
    return f"{_user(user_id)}:{policy_id}:once:{quote(idempotency_key, safe=_LEFT_ALONE)}"


def flight(lane: str, user_id: str | None) -> str:
    """String with the last operation id of one lane of one replica, in the slot of `user_id` if one is given; it
    expires."""
    return f"oo:flight:{lane}" if user_id is None else of(user_id, f"{_FLIGHT}{lane}")


def rate(name: str) -> str:
    """Counter of the requests an API key sent in the current second; it expires."""
    return f"oo:rate:{name}"
