"""The population prior of a policy as Redis holds it: one value, so that one write replaces all of it."""

from typing import Annotated, Final

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from state.errors import CorruptState
from state.values.columns import Columns

__all__ = ["PriorRecord", "decode", "encode", "version_of"]

_Whole = Annotated[int, Meta(ge=0, le=2**53)]
_FLOAT64: Final = np.dtype("<f8")
# The smallest eigenvalue of A is at least this part of the largest, or a decision could not be computed from it.
_CONDITION: Final = 1e-9


class PriorRecord(msgspec.Struct, frozen=True):
    """The `version`-th prior of a policy (from 1): A (d x d) and b (d) of `columns`.

    It was made at `built_at` (Unix seconds) from so many `users`.
    """

    version: int
    built_at: int
    users: int
    columns: Columns
    a: NDArray[np.float64]
    b: NDArray[np.float64]


class _Versioned(msgspec.Struct, frozen=True):
    version: Annotated[int, Meta(ge=1, le=2**53)]


class _Text(_Versioned, frozen=True):
    """The value: JSON, in which A and b are base64 of little-endian float64, A row by row. Fields may be added."""

    built_at: _Whole
    users: _Whole
    columns: msgspec.Raw
    A: bytes
    b: bytes


_decode: Final = msgspec.json.Decoder(_Text).decode
_decode_version: Final = msgspec.json.Decoder(_Versioned).decode


def encode(prior: PriorRecord) -> bytes:
    """The value of a prior."""
    a, b = (np.ascontiguousarray(array, _FLOAT64).tobytes() for array in (prior.a, prior.b))
    columns = msgspec.Raw(prior.columns.encode())
    return msgspec.json.encode(_Text(prior.version, prior.built_at, prior.users, columns, a, b))


def decode(where: str, text: bytes) -> PriorRecord:
    """The prior that `encode` wrote. Raises CorruptState, which names `where`.

    Unlike a model it is tested in full: it is read rarely, and all users would suffer.
    """
    try:
        found = _decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CorruptState(where, f"is not a prior: {error}") from None
    columns = Columns.decode(where, bytes(found.columns))
    d = len(columns.pairs)
    if len(found.A) != 8 * d * d or len(found.b) != 8 * d:
        raise CorruptState(where, f"A has {len(found.A)} bytes and b {len(found.b)}, which does not fit {d} columns")
    a, b = np.frombuffer(found.A, _FLOAT64).reshape(d, d), np.frombuffer(found.b, _FLOAT64)
    problem = _flaw(a, b)
    if problem:
        raise CorruptState(where, problem)
    return PriorRecord(found.version, found.built_at, found.users, columns, a, b)


def version_of(text: bytes | None) -> int:
    """The version of a prior, whatever else is wrong with it; 0 if there is none."""
    try:
        return 0 if text is None else _decode_version(text).version
    except (msgspec.DecodeError, UnicodeDecodeError):
        return 0


def _flaw(a: NDArray[np.float64], b: NDArray[np.float64]) -> str | None:
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return "has a number that is not finite"
    if not np.array_equal(a, a.T):
        return "A is not symmetric"
    try:
        eigenvalues = np.linalg.eigvalsh(a)
    except np.linalg.LinAlgError as error:
        return f"A has no eigenvalues: {error}"
    if not eigenvalues[0] > _CONDITION * eigenvalues[-1]:
        return "A is not positive definite"
    return None
