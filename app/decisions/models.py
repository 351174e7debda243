"""The models of one user: read from what the store gave, and damage told by the name of its key."""

from collections.abc import Sequence
from types import TracebackType

from app.bandit.policy import Policy
from app.bandit.ridge import Singular
from state.errors import CorruptState
from state.values import record
from state.values.record import Meta, Record

__all__ = ["load", "naming"]


def load(policy: Policy, key: str, values: Sequence[bytes | None]) -> tuple[bool, Record]:
    """The model in the values of the hash `key`, or (False) the one that a user starts with. Raises CorruptState."""
    found = record.decode(key, policy.d, values)
    return (True, found) if found else (False, Record(*policy.prior(), Meta()))


class naming:  # noqa: N801  # used as a statement, `with naming(key)`; a generator would cost a decision a microsecond
    """Around what solves the model in `key`: a model that cannot be solved raises CorruptState with that name."""

    __slots__ = ("_key",)

    def __init__(self, key: str) -> None:
        self._key = key

    def __enter__(self) -> None: ...

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        if isinstance(error, Singular):
            raise CorruptState(self._key, str(error)) from None
