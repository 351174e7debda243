"""A decision in a line of a backup: every field by its name, however Redis holds it."""

import secrets
from collections.abc import Sequence
from contextlib import suppress
from typing import Self

import msgspec
from msgspec.structs import asdict, replace

from state import keys
from state.errors import CorruptState
from state.values import decision
from state.values.decision import Evidence, Mixed, Part, Record, Shadow, Status, Terms
from state.values.stored import Stored

__all__ = ["Decision", "in_new_epoch", "named_by_decisions"]


class _Learned(msgspec.Struct, frozen=True):
    """A policy that learned the outcome; `columns` is the fingerprint of its model's columns, or empty."""

    policy: str
    updates: int
    columns: str


class _Terms(msgspec.Struct, frozen=True):
    """What the loop said of rewards when the decision was made."""

    low: float
    high: float
    default: float | None
    discards: bool
    adds: bool


class Decision(msgspec.Struct, frozen=True, omit_defaults=True):
    """A decision with its outcome; moments are in milliseconds since 1970. `by_policy` are propensities."""

    request: bytes
    loop: str
    policy: str
    status: Status
    born: int
    decided: int
    deadline: int
    terms: _Terms
    ids: list[str]
    propensities: list[float]
    chosen: int
    score: float
    seed: int
    by_policy: dict[str, list[float]]
    labels: list[str]
    x: list[float]
    n: int = 0
    reward: float | None = None
    held: float | None = None
    rewarded: int | None = None
    late: bool = False
    learned: list[_Learned] = []
    parts: dict[str, Part] = {}
    early: bool = False
    evidence: Evidence | None = None
    state: int = 0
    by_canary: bool = False
    canary: Mixed | None = None
    name: str = ""
    slot: str = ""
    slots: list[str] = []
    untaught: bool = False

    @classmethod
    def of(cls, record: Record) -> Self:
        """The decision that Redis holds as `record`. Raises UnicodeDecodeError if the name of a column is not text."""
        fields = asdict(record)
        fields["terms"] = _Terms(**asdict(record.terms))
        fields["by_policy"] = {each.policy: each.propensities for each in record.by_policy}
        fields["learned"] = [_Learned(each.policy, each.updates, each.columns.decode()) for each in record.learned]
        return cls(**fields)

    def encode(self) -> bytes:
        """What Redis holds; `decision.decode` says whether it is valid."""
        fields = asdict(self)
        fields["terms"] = Terms(**asdict(self.terms))
        fields["by_policy"] = [Shadow(name, shares) for name, shares in self.by_policy.items()]
        fields["learned"] = [
            decision.Learned(each.policy, each.updates, each.columns.encode()) for each in self.learned
        ]
        return decision.encode(Record(**fields))


def named_by_decisions(stored: Stored) -> set[bytes]:
    """The fingerprints of columns that the decisions of a user name; damaged ones name none."""
    named: set[bytes] = set()
    if isinstance(stored.value, dict):
        for blob in stored.value.values():
            with suppress(CorruptState):
                named |= {each.columns for each in decision.decode("", blob).learned if each.columns}
    return named


def in_new_epoch(stored: Sequence[Stored]) -> list[Stored]:
    """The keys of a user, with another epoch if there are decisions: what comes after a restore is not what came after
    the export. The log begins anew with what is there."""
    return [
        replace(one, value=one.value | {b"epoch": secrets.token_hex(8).encode(), b"logged": b"0"})
        if one.kind == keys.SHARED and isinstance(one.value, dict)
        else one
        for one in stored
    ]
