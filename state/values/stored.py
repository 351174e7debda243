"""A user's key with its value, and the one rule of what is valid: for import, export and restore.

Requests decode with the same functions, without the test of A and b as a whole, which costs more than a decision.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from state import keys, parts
from state.errors import CorruptState
from state.values import decision, history, record
from state.values.columns import Columns

__all__ = [
    "LONGEST_HISTORY",
    "LONGEST_LIFE_MS",
    "NAMED",
    "Members",
    "Stored",
    "check",
    "check_decisions",
    "gathered",
    "is_of_decisions",
    "is_part",
]

# The largest values of FEATURE_HISTORY_SIZE and IDEMPOTENCY_TTL_SECONDS.
LONGEST_HISTORY: Final = 10_000
LONGEST_LIFE_MS: Final = 31_536_000_000
_LONGEST_ID: Final = 256
_FINGERPRINT_DIGITS: Final = frozenset(b"0123456789abcdef")
_FINGERPRINT_LENGTH: Final = 32
# The field of a model that names its columns.
NAMED: Final = record.FIELDS[-1]
_LONGEST_EPOCH: Final = 64
_local: Final = re.compile(rb"[\x21-\x7e]{1,128}").fullmatch
_NO_COLUMNS: Final[Mapping[bytes, Columns]] = {}


# The members of a sorted set, each with its score.
Members = tuple[tuple[bytes, float], ...]
# The last parts of the keys of a user's decisions, without the parts that those of large loops are in.
_OF_DECISIONS: Final = (keys.SHARED, keys.DECISIONS, keys.AGENDA)


class Stored(msgspec.Struct, frozen=True):
    """A key of a user, named by `keys.of(user, kind)`, and its value: a hash, a list, a sorted set or a string.

    A string may expire in `expires_ms` milliseconds.
    """

    user: str
    kind: str
    value: dict[bytes, bytes] | list[bytes] | Members | bytes
    expires_ms: int | None = None


def check(stored: Stored, sizes: Mapping[str, int], columns: Mapping[bytes, Columns] = _NO_COLUMNS) -> None:
    """Raise CorruptState, which names the key, unless the service could have written this value there.

    `sizes` is the number of columns of each policy whose models name none, `columns` what the others name.
    """
    kind, value = stored.kind, stored.value
    try:
        key = keys.of(stored.user, kind)
    except UnicodeEncodeError:
        raise CorruptState(ascii(stored.user), "is not Unicode") from None
    if not 1 <= len(stored.user) <= _LONGEST_ID or keys.parse(key) != (stored.user, kind):
        raise CorruptState(ascii(key), "is not a key of a user")
    if keys.is_marker(kind):
        _check_marker(key, stored, sizes)
    elif stored.expires_ms is not None:
        raise CorruptState(key, "only an idempotency key expires")
    elif kind in _CHECKS:
        _CHECKS[kind](key, value)
    elif is_part(kind):
        _check_records(key, value)
        if isinstance(value, dict) and (odd := [name for name in value if parts.of(keys.DECISIONS, name) != kind]):
            raise CorruptState(key, f"is not where {odd[0]!r} belongs")
    elif kind in sizes or (keys.is_policy(kind) and isinstance(value, dict) and NAMED in value):
        _check_model(key, value, sizes.get(kind), columns)
    else:
        raise CorruptState(key, "this version does not know what it is")


def is_part(kind: str) -> bool:
    """Whether `kind` is the last part of a hash of decisions of large loops."""
    return parts.is_part(kind, keys.DECISIONS)


def is_of_decisions(kind: str) -> bool:
    """Whether `kind` is the last part of one of the keys of a user's decisions."""
    return kind in _OF_DECISIONS or is_part(kind)


def gathered(stored: Iterable[Stored]) -> list[Stored]:
    """The keys of one user, with all decisions as if they were in one hash."""
    found: dict[str, Stored] = {}
    for one in stored:
        kind = keys.DECISIONS if is_part(one.kind) else one.kind
        before = found.get(kind)
        if before is None:
            found[kind] = msgspec.structs.replace(one, kind=kind)
        elif isinstance(before.value, dict) and isinstance(one.value, dict):
            found[kind] = msgspec.structs.replace(before, value={**before.value, **one.value})
    return list(found.values())


def check_decisions(stored: Sequence[Stored]) -> None:
    """Raise CorruptState unless the keys of one user's decisions, each of which is valid, fit together."""
    found = {one.kind: one for one in gathered(stored) if is_of_decisions(one.kind)}
    if not found:
        return
    [user] = {one.user for one in found.values()}
    values: dict[str, Any] = {kind: one.value for kind, one in found.items()}
    shared, records, agenda = (values.get(kind, {}) for kind in _OF_DECISIONS)
    if not shared:
        raise CorruptState(keys.shared(user), "is missing, and there are decisions")
    if parts.FIELD not in shared and any(is_part(one.kind) for one in stored):
        raise CorruptState(keys.shared(user), "does not say that there are parts")
    if {*records} != {*dict(agenda)}:
        raise CorruptState(keys.agenda(user), "does not have just the decisions that there are")
    counts = decision.decode_user(keys.shared(user), [shared.get(name) for name in decision.SHARED], b"")
    there = [decision.decode(keys.decisions(user), blob) for blob in records.values()]
    opened = sum(one.is_open for one in there)
    if (counts.records, counts.open) != (len(there), opened):
        raise CorruptState(keys.shared(user), "counts other decisions than there are")


def _check_shared(key: str, value: object) -> None:
    if not isinstance(value, dict):
        raise CorruptState(key, "holds a value of another type")
    *all_have, _ = decision.SHARED
    if not value.keys() >= {*all_have} or not 1 <= len(value[b"epoch"]) <= _LONGEST_EPOCH:
        raise CorruptState(key, f"lacks one of {', '.join(name.decode() for name in all_have)}")
    decision.decode_user(key, [value.get(name) for name in decision.SHARED], b"")


def _check_records(key: str, value: object) -> None:
    if not isinstance(value, dict):
        raise CorruptState(key, "holds a value of another type")
    for name, blob in value.items():
        if not _local(name):
            raise CorruptState(key, f"{name!r} is not the id of a decision")
        where = f"{key} {name.decode()}"
        made = decision.decode(where, blob)
        parts = [number for part in made.parts.values() for number in (part.first, part.value)]
        told = [number for number in (made.reward, made.held, *parts) if number is not None]
        if not all(map(math.isfinite, (made.score, *made.x, *told))):
            raise CorruptState(where, "has a number that is not finite")


def _check_agenda(key: str, value: object) -> None:
    if not isinstance(value, tuple):
        raise CorruptState(key, "holds a value of another type")
    for name, score in value:
        if not _local(name) or not math.isfinite(score):
            raise CorruptState(key, f"{name!r} is not the id of a decision with its moment")


def _check_marker(key: str, stored: Stored, sizes: Mapping[str, int]) -> None:
    parts, value, left = keys.marker_parts(stored.kind), stored.value, stored.expires_ms
    if parts is None or parts[0] not in sizes:
        raise CorruptState(ascii(key), "is not an idempotency key under a policy")
    if not isinstance(value, bytes) or len(value) != _FINGERPRINT_LENGTH or not _FINGERPRINT_DIGITS.issuperset(value):
        raise CorruptState(key, "does not hold the fingerprint of a reward")
    if left is None or not 1 <= left <= LONGEST_LIFE_MS:
        raise CorruptState(key, "does not expire within a year")


def _check_history(key: str, value: object) -> None:
    if not isinstance(value, list):
        raise CorruptState(key, "holds a value of another type")
    if len(value) > LONGEST_HISTORY:
        raise CorruptState(key, f"has {len(value):,} entries, more than {LONGEST_HISTORY:,}")
    history.decode(key, value)


def _check_sync(key: str, value: object) -> None:
    if not isinstance(value, dict):
        raise CorruptState(key, "holds a value of another type")
    try:
        for name, text in value.items():
            name.decode(), text.decode()
    except UnicodeDecodeError:
        raise CorruptState(key, "has a field that is not UTF-8") from None


def _check_model(key: str, value: object, size: int | None, columns: Mapping[bytes, Columns]) -> None:
    if not isinstance(value, dict):
        raise CorruptState(key, "holds a value of another type")
    named = value.get(NAMED)
    known = columns.get(named) if named is not None else None
    if named is not None and known is None:
        raise CorruptState(key, f"names unknown columns: {named!r}")
    d = len(known.pairs) if known else size or 0
    found = record.decode(key, d, [value.get(name) for name in record.FIELDS])
    problem = "has none of A, b and meta" if found is None else record.flaw(found)
    if problem is not None:
        raise CorruptState(key, problem)


_CHECKS: Final[Mapping[str, Callable[[str, object], None]]] = {
    keys.HISTORY: _check_history,
    keys.SYNC: _check_sync,
    keys.SHARED: _check_shared,
    keys.DECISIONS: _check_records,
    keys.AGENDA: _check_agenda,
}
