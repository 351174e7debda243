"""The model of a user: decoded from the store's values, with errors that name its key."""

from collections.abc import Sequence
from types import TracebackType

from app.bandit.policy import Policy
from app.bandit.ridge import Singular
from state.errors import CorruptState
from state.values import record
from state.values.record import Meta, Record

__all__ = ["load", "naming"]


def load(policy: Policy, key: str, values: Sequence[bytes | None]) -> tuple[bool, Record]:
    """Whether the hash `key` exists, by its values, and its model, or that of a new user. Raises CorruptState."""
    found = record.decode(key, policy.d, values)
    return (True, found) if found else (False, Record(*policy.prior(), Meta()))


class naming:  # noqa: N801  # used as a statement, `with naming(key)`; contextmanager would cost a microsecond per decision
    """A block that solves the model in `key`: if it cannot be solved, CorruptState names the key."""

    __slots__ = ("_key",)

    def __init__(self, key: str) -> None:
        self._key = key

    def __enter__(self) -> None: ...

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        if isinstance(error, Singular):
            raise CorruptState(self._key, str(error)) from None
