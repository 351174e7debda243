"""How the columns of a policy lie among those of a stored model, and errors that name a model's key."""

import hashlib
from types import TracebackType

import msgspec

from app.bandit.policy import Policy
from app.bandit.ridge import Matrix, Singular, Vector
from state.errors import CorruptState
from state.values.columns import MOST, Columns

__all__ = ["Fit", "Own", "fit_of", "naming", "own_of"]


class Fit(msgspec.Struct, frozen=True):
    """How a policy's columns lie in a model: `columns` of the model after the next reward, and `at` the places in them.

    The model has `there` of the places already, for the policy's columns `own`.
    """

    columns: Columns
    fingerprint: bytes
    at: list[int]
    own: list[int]
    there: list[int]


class Own(msgspec.Struct, frozen=True):
    """A policy's columns, their fingerprint, and what its models name them: None, or an empty `name`, for policies of
    the first version. The policy's `version` changes with all that decides or learns. `a` and `b` are those of a new
    user, and cannot be written to."""

    policy: Policy
    columns: Columns
    whole: bytes
    fingerprint: bytes | None
    name: bytes
    version: str
    a: Matrix
    b: Vector


def own_of(policy: Policy) -> Own:
    columns = Columns(tuple(zip(policy.labels, policy.definitions, strict=True)))
    fingerprint = columns.fingerprint
    settings = (policy.explorer, policy.forget, policy.population, policy.baseline, policy.classic is None)
    version = hashlib.blake2b(fingerprint + repr(settings).encode(), digest_size=8).hexdigest()
    a, b = policy.prior()
    a.flags.writeable = b.flags.writeable = False
    named = None if policy.classic else fingerprint
    return Own(policy, columns, fingerprint, named, named or b"", version, a, b)


def fit_of(key: str, own: Columns, columns: Columns) -> Fit:
    """How the columns `own` lie in a model that has `columns`. Raises CorruptState if there would be too many."""
    grown = columns.with_all(own.pairs)
    if len(grown.pairs) > MOST:
        raise CorruptState(
            key, f"would have over {MOST} columns: remove unused ones by `python -m app policies --prune`"
        )
    places = {pair: place for place, pair in enumerate(grown.pairs)}
    at = [places[pair] for pair in own.pairs]
    kept = [place for place, there in enumerate(at) if there < len(columns.pairs)]
    return Fit(grown, grown.fingerprint, at, kept, [at[place] for place in kept])


class naming:  # noqa: N801  # used as a statement, `with naming(key)`; contextmanager would cost a microsecond per decision
    """A block that solves the model in `key`: if it cannot be solved, CorruptState names the key."""

    __slots__ = ("_key",)

    def __init__(self, key: str) -> None:
        self._key = key

    def __enter__(self) -> None: ...

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        if isinstance(error, Singular):
            raise CorruptState(self._key, str(error)) from None
