"""The key schema: the keys of a user in Redis and their names.

Every key of a user has the user id in braces, so that a Redis Cluster keeps all of them in one slot, where one
transaction can change them.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final
from urllib.parse import quote, unquote

from state.parts import slot, tags

__all__ = [
    "AGENDA",
    "COLUMNS",
    "CONSOLE",
    "DECISIONS",
    "EVERYONE",
    "EVIDENCE",
    "HISTORY",
    "IDLE",
    "INDEX",
    "INDEXED_SINCE",
    "LOOPS",
    "PERSONALIZER",
    "POLICIES",
    "PRIORS",
    "SEEN",
    "SHARED",
    "SYNC",
    "USED",
    "agenda",
    "audit_of",
    "by_slot",
    "decisions",
    "draft",
    "due",
    "fixed",
    "flight",
    "flight_beside",
    "history",
    "index",
    "is_marker",
    "is_passing",
    "is_policy",
    "kind_of",
    "marker",
    "marker_parts",
    "models",
    "of",
    "outbox",
    "outbox_of_loops",
    "parse",
    "rate",
    "record",
    "shared",
    "sync",
]

HISTORY: Final = "history"
SYNC: Final = "sync"
INDEX: Final = "once"
SHARED: Final = "u"
DECISIONS: Final = "d"
AGENDA: Final = "t"
# String that expires: the moment (Unix ms) at which all of these keys expire, of a user who does.
SEEN: Final = "seen"
# String: the Unix time since which every marker is in its user's index.
INDEXED_SINCE: Final = "oo:indexed-since"
# Hash: the columns of models by fingerprint.
COLUMNS: Final = "oo:columns"
# Hash: the last day on which a replica had a column, by policy and column.
USED: Final = "oo:columns:used"
# Set: every policy that there may be models of.
POLICIES: Final = "oo:policies"
# Hash: the prior of each policy.
PRIORS: Final = "oo:priors"
# Hash: for each loop its state, and under `audit_of` its last changes.
LOOPS: Final = "oo:loops"
# Hash: for each loop the evidence that was last made of its log, and under `health_of` its health.
EVIDENCE: Final = "oo:evidence"
# Hash: the configuration of each application of Azure Personalizer's clients.
PERSONALIZER: Final = "oo:personalizer"
# String: since users were given a moment at which they expire, for how many days last.
IDLE: Final = "oo:idle"
# String: random bytes by which all replicas know the sessions of the console.
CONSOLE: Final = "oo:console"
# The glob pattern of all keys of all users.
EVERYONE: Final = "oo:{*}:*"

# quote() leaves letters, digits and `_.-~` alone and always writes upper-case hexadecimal.
_LEFT_ALONE: Final = "@:"
_KEY: Final = re.compile(r"oo:\{(?P<user>[^{}]+)\}:(?P<kind>[\x21-\x7e]+)")
_IDEMPOTENCY_KEY: Final = re.compile(r"[\x21-\x7e]{1,128}")
_ONCE: Final = ":once:"
_FLIGHT: Final = "flight:"
_OUTBOX: Final = "oo:outbox"
_POLICY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# As the last part of a key these words have another meaning.
_TAKEN: Final = frozenset({HISTORY, SYNC, INDEX, SHARED, DECISIONS, AGENDA, SEEN, "flight"})


@lru_cache(16_384)  # of 250 bytes each; with fewer than there are busy users it would cost more than it saves
def _user(user_id: str) -> str:
    return f"oo:{{{quote(user_id, safe=_LEFT_ALONE)}}}:"


def of(user_id: str, kind: str) -> str:
    """The key of a user with `kind` as its last part. Raises ValueError for an id that is not Unicode."""
    return _user(user_id) + kind


def parse(key: str) -> tuple[str, str] | None:
    """The user id and the last part of a key, the inverse of `of`; None if the key belongs to no user."""
    found = _KEY.fullmatch(key)
    user_id = unquote(found["user"], errors="replace") if found else ""
    return (user_id, found["kind"]) if found and of(user_id, found["kind"]) == key else None


def models(policy_id: str) -> str:
    """The glob pattern of the models of all users under a policy, whose id needs no escapes."""
    return f"oo:{{*}}:{policy_id}"


def kind_of(key: str) -> str:
    """The last part of a key made by `of`, `record` or `marker`."""
    return key.partition("}:")[2]


def fixed(policies: Iterable[str]) -> list[str]:
    """The last parts of all keys with data of a user under `policies`, without idempotency keys and their index."""
    return [*policies, HISTORY, SYNC, SHARED, DECISIONS, AGENDA]


def is_policy(word: str) -> bool:
    """Whether `word` can be the id of a policy, which is the last part of the key of its models."""
    return _POLICY.fullmatch(word) is not None and word not in _TAKEN


def is_marker(kind: str) -> bool:
    """Whether `kind` is the last part of a marker: a string that expires."""
    return _ONCE in kind


def marker_parts(kind: str) -> tuple[str, str] | None:
    """The policy and the idempotency key in the last part of a marker; None if `marker` does not make such a part."""
    policy, found, quoted = kind.partition(_ONCE)
    key = unquote(quoted, errors="replace")
    fits = found and _IDEMPOTENCY_KEY.fullmatch(key) and quote(key, safe=_LEFT_ALONE) == quoted
    return (policy, key) if fits else None


def is_passing(kind: str) -> bool:
    """Whether a key with this last part serves a transaction alone. Version 0.1.0 wrote some."""
    return kind.startswith(_FLIGHT)


def draft(user_id: str) -> str:
    """The key of a value that is renamed later in the same transaction; between transactions it never exists."""
    return of(user_id, f"{_FLIGHT}draft")


def record(user_id: str, policy_id: str) -> str:
    """Hash: A, b and meta of one user under one policy."""
    return _user(user_id) + policy_id


def history(user_id: str) -> str:
    """List: the user's last decisions, oldest first."""
    return _user(user_id) + HISTORY


def shared(user_id: str) -> str:
    """Hash: what the decisions of a user share: epoch, count of changes, last moment, how many there are."""
    return _user(user_id) + SHARED


def decisions(user_id: str) -> str:
    """Hash: the user's decisions by local id."""
    return _user(user_id) + DECISIONS


def agenda(user_id: str) -> str:
    """Sorted set: the local ids of the user's decisions, each with the moment (ms) at which it must be looked at."""
    return _user(user_id) + AGENDA


def sync(user_id: str) -> str:
    """Hash: the last sync of the user's tasks."""
    return of(user_id, SYNC)


def marker(user_id: str, policy_id: str, idempotency_key: str) -> str:
    """String that expires: the fingerprint of the reward that an idempotency key was used for."""
    return f"{_user(user_id)}{policy_id}{_ONCE}{quote(idempotency_key, safe=_LEFT_ALONE)}"


def index(user_id: str) -> str:
    """Sorted set: the last parts of the user's markers, each with the Unix time at which it expires."""
    return of(user_id, INDEX)


def flight(lane: str, user_id: str | None) -> str:
    """String that expires: the last operation id of one lane of one replica, in the slot of `user_id` if one is given.
    It names no user: no erasure has to find it, and all users of a slot share it."""
    return _part(f"oo:flight:{lane}", user_id)


def flight_beside(key: str) -> str:
    """String that expires, in the slot of a `key` of all users."""
    return f"oo:flight:{{{key}}}"


def due(user_id: str | None) -> str:
    """Sorted set: users, and when (ms) each has a decision that is due; all, or those in the slot of `user_id`."""
    return _part("oo:due", user_id)


def outbox(user_id: str | None) -> str:
    """Stream: lines of the log that are not published yet; one for all users, or for those in the slot of `user_id`."""
    return _part(_OUTBOX, user_id)


@lru_cache(2)
def outbox_of_loops(*, in_slots: bool) -> str:
    """The part of the outbox that a transaction of LOOPS can write to; with `in_slots` there is one for each slot."""
    return f"{_OUTBOX}:{{{tags()[slot(LOOPS)]}}}" if in_slots else _OUTBOX


def audit_of(loop: str) -> str:
    """The field of LOOPS with the last changes of a loop, whose name has no blank."""
    return f"{loop} audit"


@lru_cache(2)
def by_slot(name: str) -> tuple[str, ...]:
    """What `due` or `outbox`, whose name for all users is `name`, gives for the users of each slot of a Cluster."""
    return tuple(f"{name}:{{{tag}}}" for _, tag in sorted(tags().items()))


def _part(name: str, user_id: str | None) -> str:
    """A name for all users, or one without the id in it that hashes to the slot of the user's keys."""
    return name if user_id is None else f"{name}:{{{tags()[slot(_user(user_id)[4:-2])]}}}"


def rate(name: str) -> str:
    """Counter that expires: the requests with one API key in the current second."""
    return f"oo:rate:{name}"
