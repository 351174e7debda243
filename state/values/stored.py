"""A user's key with its value, and the one rule of what is valid: for import, export and restore.

Requests decode with the same functions, without the test of A and b as a whole, which costs more than a decision.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from state import keys
from state.errors import CorruptState
from state.values import history, record
from state.values.columns import Columns

__all__ = ["LONGEST_HISTORY", "LONGEST_LIFE_MS", "NAMED", "Stored", "check"]

# The largest values of FEATURE_HISTORY_SIZE and IDEMPOTENCY_TTL_SECONDS.
LONGEST_HISTORY: Final = 10_000
LONGEST_LIFE_MS: Final = 31_536_000_000
_LONGEST_ID: Final = 256
_FINGERPRINT_DIGITS: Final = frozenset(b"0123456789abcdef")
_FINGERPRINT_LENGTH: Final = 32
# The field of a model that names its columns.
NAMED: Final = record.FIELDS[-1]
_NO_COLUMNS: Final[Mapping[bytes, Columns]] = {}


class Stored(msgspec.Struct, frozen=True):
    """A key of a user, named by `keys.of(user, kind)`, and its value: a hash, a list or a string.

    A string may expire in `expires_ms` milliseconds.
    """

    user: str
    kind: str
    value: dict[bytes, bytes] | list[bytes] | bytes
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
    elif kind == keys.HISTORY:
        _check_history(key, value)
    elif kind == keys.SYNC:
        _check_sync(key, value)
    elif kind in sizes or (keys.is_policy(kind) and isinstance(value, dict) and NAMED in value):
        _check_model(key, value, sizes.get(kind), columns)
    else:
        raise CorruptState(key, "this version does not know what it is")


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
        raise CorruptState(key, f"names columns that nobody knows: {named!r}")
    d = len(known.pairs) if known else size or 0
    found = record.decode(key, d, [value.get(name) for name in record.FIELDS])
    problem = "has none of A, b and meta" if found is None else record.flaw(found)
    if problem is not None:
        raise CorruptState(key, problem)
