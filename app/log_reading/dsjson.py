"""Decisions as lines of dsjson, which Vowpal Wabbit learns from: `vw --cb_explore_adf --dsjson`.

The order of the keys is part of the form: the label must stand before `c`, or Vowpal Wabbit learns nothing and does
not say so; and other readers want Timestamp before EventId.
https://github.com/VowpalWabbit/vowpal_wabbit/wiki/Conditional-Contextual-Bandit
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType, field

from app.log_reading.joined import Told

__all__ = ["dsjson"]


class _Context(msgspec.Struct, frozen=True):
    """The namespaces that all actions share, and the actions."""

    context: Mapping[str, Any] = field(name="Context")
    user: Mapping[str, Any] = field(name="User")
    actions: list[dict[str, Mapping[str, Any]]] = field(name="_multi")


class _Example(msgspec.Struct, frozen=True, kw_only=True):
    """A line of dsjson, in the order of its keys; `a` are the places of actions from 1, the chosen one first."""

    cost: float = field(name="_label_cost")
    probability: float = field(name="_label_probability")
    action: int = field(name="_label_Action")
    index: int = field(name="_labelIndex")
    skipped: bool | UnsetType = field(name="_skipLearn", default=UNSET)
    ts: str = field(name="Timestamp")
    version: str = field(name="Version")
    id: str = field(name="EventId")
    a: list[int]
    c: _Context
    p: list[float]
    state: dict[str, str] = field(name="VWState")
    outcomes: list[Any] | UnsetType = field(name="o", default=UNSET)
    oo: dict[str, Any]


# Objects within one another, as deep as features see them.
_MOST_DEPTH: Final = 8
_encode: Final = msgspec.json.Encoder().encode


def dsjson(told: Told) -> bytes | None:
    """The example, without a line break; None while it has no reward and may still get one, or never got one.

    What was never shown teaches nothing: it is there with `_skipLearn`.
    """
    decision, total = told.decision, told.total
    void = told.shown is False
    if total is None and not void:
        return None
    order = [decision.chosen, *(place for place in range(len(decision.candidates)) if place != decision.chosen)]
    example = _Example(
        # Without the sign of a zero, which not every reader takes.
        cost=0.0 - (total or 0.0),
        probability=decision.propensity,
        action=decision.chosen + 1,
        index=decision.chosen,
        skipped=True if void else UNSET,
        ts=decision.ts,
        version="1",
        id=decision.id,
        a=[place + 1 for place in order],
        c=_Context(
            _features(decision.context),
            _features(decision.user_features),
            [{"Id": {"id": each.id}, "Action": _features(each.features)} for each in decision.candidates],
        ),
        p=[decision.propensities[place] for place in order],
        state={"m": f"{decision.policy}@{decision.versions.get(decision.policy, '')}"},
        outcomes=[] if told.defaulted else UNSET,
        oo={
            "user": decision.user,
            "epoch": decision.epoch,
            "seq": decision.seq,
            "loop": decision.loop,
            "policy": decision.policy,
            "by_policy": decision.by_policy,
        },
    )
    return _encode(example)


def _features(fields: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Fields as Vowpal Wabbit reads them: numbers, texts and truth; each of a list, and each field of an object within,
    has a name of its own.

    Names that begin with "_" have a meaning of their own there, and null none: they are left out.
    """
    found: dict[str, Any] = {}
    for key, value in fields.items():
        name = f"{path}{key}"
        if key.startswith("_"):
            continue
        if isinstance(value, bool | int | float | str):
            found[name] = value
        for place, each in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(each, dict) and path.count(".") < _MOST_DEPTH:
                found |= _features(each, f"{name}.")
            elif isinstance(value, list) and isinstance(each, str):
                found[f"{name}={each}"] = 1
            elif isinstance(value, list) and isinstance(each, int | float):
                found[f"{name}[{place}]"] = each
    return found
