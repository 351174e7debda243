"""A user's model under one policy as Redis holds it: A, b and meta, three binary blobs in one hash."""

import struct
from collections.abc import Sequence
from functools import lru_cache
from math import inf, isfinite
from typing import Final

import msgspec
import numpy as np
from msgspec.structs import astuple, replace
from numpy.typing import NDArray

from state.errors import CorruptState

__all__ = ["FIELDS", "META", "Meta", "Record", "decode", "decode_meta", "encode", "encode_meta", "flaw"]

FIELDS: Final = (b"A", b"b", b"meta", b"columns")

# The layout is public: readers in other languages use it. New fields are appended, never inserted.
META: Final = np.dtype(
    [
        ("pulls", "<u8"),
        ("explore_count", "<u8"),
        ("reward_count", "<u8"),
        ("cumulative_reward", "<f8"),
        ("last_updated", "<i8"),
        ("updates", "<u8"),
        ("weight", "<f8"),
        ("squares", "<f8"),
    ]
)
# The same layout; struct reads it 5 times faster than numpy. The last three came later, and not all models have them.
_meta: Final = struct.Struct("<QQQdqQ")
_whole: Final = struct.Struct("<QQQdqQdd")
_signed: Final = struct.Struct("<qqqdqqdd").unpack  # in which a count that is too large is negative
# Named once: to look up one of them takes as long as to check a field.
_pack: Final = _whole.pack
_SIZE: Final = _whole.size
_matrix: Final = np.ndarray
_vector: Final = np.frombuffer
# No real count comes near this limit, and a count plus 1 must still fit.
_COUNTS: Final = 2**63
_YEAR_10000: Final = 253_402_300_800
_FLOAT64: Final = np.dtype("<f8")
# Rounding may bring A so far below the identity or out of symmetry: absolutely, since the first system may have written
# few digits, and relative to the largest eigenvalue.
_ROUNDING: Final = (1e-6, 1e-9)
# Within these, A's condition and b's size are far from where arithmetic fails.
_WELL_CONDITIONED: Final = 1e9
_MODERATE: Final = 1e100


class Meta(msgspec.Struct, frozen=True):
    """Counters of one user under one policy; `last_updated` is in Unix seconds, 0 for never.

    `updates` counts the rewards that were learned and never falls. `weight` and `squares` are their number and the sum
    of their squares, faded as b is; None for a model with rewards from before they were counted. `later` keeps the
    bytes that a newer version appended.
    """

    pulls: int = 0
    explore_count: int = 0
    reward_count: int = 0
    cumulative_reward: float = 0.0
    last_updated: int = 0
    updates: int = 0
    weight: float | None = 0.0
    squares: float = 0.0
    later: bytes = b""

    def decided(self, now: int, *, explored: bool) -> "Meta":
        """The counters after one more decision at `now` (Unix seconds)."""
        return Meta(
            self.pulls + 1,
            self.explore_count + explored,
            self.reward_count,
            self.cumulative_reward,
            now,
            self.updates,
            self.weight,
            self.squares,
            self.later,
        )

    def rewarded(self, now: int, reward: float, *, learned: float | None = None, forget: float = 1.0) -> "Meta":
        """The counters after one more `reward` at `now` (Unix seconds), of which `learned` was learned (`reward`).

        `forget` is the weight of the past.
        """
        told = reward if learned is None else learned
        return Meta(
            self.pulls,
            self.explore_count,
            self.reward_count + 1,
            self.cumulative_reward + reward,
            now,
            self.updates + 1,
            None if self.weight is None else forget * self.weight + 1.0,
            forget * self.squares + told * told,
            self.later,
        )

    def adjusted(self, reward: float, *, rewards: int, weight: float, squares: float) -> "Meta":
        """The counters after a reward was corrected or taken back.

        `reward` is added to the sum, `rewards` (0, -1) to the count, `weight` and `squares` to what was learned.
        """
        return replace(
            self,
            reward_count=max(self.reward_count + rewards, 0),
            cumulative_reward=self.cumulative_reward + reward,
            weight=None if self.weight is None else max(self.weight + weight, 0.0),
            squares=max(self.squares + squares, 0.0),
        )


class Record(msgspec.Struct, frozen=True):
    """A (d x d), b (d) and meta. The arrays may be views of read-only memory.

    `columns` is the fingerprint of its columns; None for those that its policy had in the first version.
    """

    a: NDArray[np.float64]
    b: NDArray[np.float64]
    meta: Meta
    columns: bytes | None = None


def decode(key: str, d: int, blobs: Sequence[bytes | None]) -> Record | None:
    """The record in the values of the FIELDS of the hash `key`; None if all are missing.

    Raises CorruptState, which names the key, if some are missing, A or b does not fit `d` columns, or meta is invalid.
    """
    a, b, meta, columns = blobs
    if a is None or b is None or meta is None:
        if a is None and b is None and meta is None and columns is None:
            return None
        missing = ", ".join(name.decode() for name, blob in zip(FIELDS[:3], blobs, strict=False) if blob is None)
        raise CorruptState(key, f"field {missing} is missing")
    if len(b) != 8 * d:
        raise CorruptState(key, f"b has {len(b)} bytes, not {8 * d} (d = {d})")
    if len(a) != 8 * d * d:
        raise CorruptState(key, f"A has {len(a)} bytes, not {8 * d * d} (d = {d})")
    return Record(_matrix((d, d), _FLOAT64, a), _vector(b, _FLOAT64), decode_meta(key, meta), columns)


def decode_meta(key: str, meta: bytes) -> Meta:
    """The counters in the field `meta` of the hash `key`. Raises CorruptState."""
    if len(meta) != _SIZE:
        return _other(key, meta)
    pulls, explored, rewards, total, at, updates, weight, squares = counters = _signed(meta)
    if (
        (pulls | explored | rewards | updates | at) >= 0
        and at < _YEAR_10000
        and weight >= 0.0
        and squares >= 0.0
        and isfinite(total + weight + squares)
    ):
        return Meta(*counters)
    return _checked(key, Meta(*_whole.unpack(meta)))


def _other(key: str, meta: bytes) -> Meta:
    """The counters that a newer or an older version wrote. Raises CorruptState."""
    if len(meta) > _whole.size:
        return _checked(key, replace(Meta(*_whole.unpack_from(meta)), later=meta[_whole.size :]))
    if not meta or len(meta) % 8:
        raise CorruptState(key, f"meta has {len(meta)} bytes, in which a field is cut off")
    pulls, explored, rewards, total, at, updates = _meta.unpack_from(meta.ljust(_meta.size, b"\0"))
    # A model of a version that did not count them is left out for good, unless it has no rewards yet.
    return _checked(key, Meta(pulls, explored, rewards, total, at, updates, None if rewards else 0.0))


def _checked(key: str, meta: Meta) -> Meta:
    """These counters. Raises CorruptState, if anything is wrong with them."""
    if (meta.pulls | meta.explore_count | meta.reward_count | meta.updates) >= _COUNTS:
        raise CorruptState(key, "meta has a count of 2^63 or more")
    if not (isfinite(meta.cumulative_reward) and 0 <= meta.last_updated < _YEAR_10000):
        raise CorruptState(key, "meta: invalid cumulative_reward or last_updated")
    if not (0.0 <= (meta.weight or 0.0) < inf and 0.0 <= meta.squares < inf):
        raise CorruptState(key, "meta: invalid weight or squares")
    return meta


def flaw(record: Record) -> str | None:
    """Why rewards cannot have led to these numbers; None if they can.

    Every model begins with A = I and b = 0, and a reward r for x adds xxᵀ to A and r·x to b. So A is symmetric, no
    eigenvalue is below 1, and A⁻¹b is finite. `decode` does not test this, since it would slow down every request.
    """
    return None if _is_plainly_sound(record.a, record.b) else _reason(record.a, record.b)


def _reason(a: NDArray[np.float64], b: NDArray[np.float64]) -> str | None:
    """The first test that A and b fail, or None."""
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return "has a number that is not finite"
    if not np.allclose(a, a.T, rtol=_ROUNDING[1], atol=_ROUNDING[1]):
        return "A is not symmetric"
    try:
        eigenvalues = np.linalg.eigvalsh(a)
        if not eigenvalues[0] >= 1 - _ROUNDING[0] - _ROUNDING[1] * eigenvalues[-1]:
            return "A is less than the identity, with which every model begins"
        with np.errstate(over="ignore"):
            theta = np.linalg.solve(a, b)
            # With room to spare, since scores and later estimates must be finite too.
            if not isfinite(theta @ theta):
                return "A and b give a theta that is out of all proportion"
    except np.linalg.LinAlgError as error:
        return f"A and b give no estimate: {error}"
    return None


def _is_plainly_sound(a: NDArray[np.float64], b: NDArray[np.float64]) -> bool:
    """Whether A and b pass every test of `flaw` by one Cholesky decomposition, as nearly all models do.

    It succeeds only if no eigenvalue is below 1 - 1e-6. Then |A⁻¹b| is about |b| at most, and since A is
    well-conditioned, solving for it does not fail.
    """
    # The comparisons are false for NaN and infinity. Written by the service, A is symmetric to the last bit.
    if not (np.abs(a).max() < _WELL_CONDITIONED and np.abs(b).max() < _MODERATE and a.tobytes() == a.T.tobytes()):
        return False
    try:
        np.linalg.cholesky(a - _almost_identity(len(b)))
    except np.linalg.LinAlgError:
        return False
    return True


@lru_cache
def _almost_identity(d: int) -> NDArray[np.float64]:
    return (1 - _ROUNDING[0]) * np.eye(d)


def encode_meta(meta: Meta) -> dict[bytes, bytes]:
    """The hash field that changes when a decision is counted."""
    pulls, explored, rewards, total, at, updates, weight, squares, later = astuple(meta)
    if weight is not None:
        return {b"meta": _pack(pulls, explored, rewards, total, at, updates, weight, squares) + later}
    return {b"meta": _meta.pack(pulls, explored, rewards, total, at, updates) + later}


def encode(record: Record) -> dict[bytes, bytes]:
    """All hash fields of a record."""
    fields = {b"A": record.a.tobytes(), b"b": record.b.tobytes(), **encode_meta(record.meta)}
    if record.columns is not None:
        fields[b"columns"] = record.columns
    return fields
