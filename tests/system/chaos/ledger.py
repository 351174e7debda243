"""What clients sent and were answered, and what Redis holds of it."""

import collections
import random
from typing import Any, NamedTuple

import msgspec

from tests.support.told import Made
from tests.system.chaos.loops import columns, draw_context, draw_features, draw_user

__all__ = ["Holding", "Kept", "Ledger", "Reward", "Slot", "draw_reward"]


class Slot(NamedTuple):
    """One user under one policy."""

    user: str
    policy: str


class Reward(msgspec.Struct, frozen=True):
    """A reward as it is sent, and the feature vector that the service must make of it."""

    slot: Slot
    key: str
    value: float
    x: tuple[float, ...]
    body: dict[str, Any]


def draw_reward(draw: random.Random, slot: Slot, key: str) -> Reward:
    """A reward whose features and value are multiples of 1/8."""
    context, user, features = draw_context(draw), draw_user(draw), draw_features(draw)
    value = draw.randrange(-8, 9) / 8
    task = {name: features[name] for name in ("is_overdue", "task_age_days", "priority")}
    body = {
        "user_id": slot.user,
        "tip_id": key,
        "reward": value,
        "features": {"hour_of_day": context["hour_of_day"], **task},
        "day_of_week": context["day_of_week"],
        "profile_features": user,
    }
    return Reward(slot, key, value, columns(slot.policy, context, user, features), body)


class Ledger:
    """What clients sent and what was acknowledged to them: rewards by idempotency key, scores by candidate, decisions
    by id with what they must have taught; `told` counts what was told of them, and `unfinished` are those of which
    something was never answered."""

    def __init__(self) -> None:
        self.rewards: dict[str, Reward] = {}
        self.acknowledged: set[str] = set()
        self.scores: dict[str, Slot] = {}
        self.answered: set[str] = set()
        self.decisions: dict[str, Made] = {}
        self.unfinished: set[str] = set()
        self.told: collections.Counter[str] = collections.Counter()
        self.surprises: collections.Counter[str] = collections.Counter()


class Kept(NamedTuple):
    """A decision as Redis holds it."""

    status: str
    reward: float | None
    n: int


class Holding(msgspec.Struct):
    """What Redis holds: A, b and meta of each user and policy, (candidate, policy, explored) of each user's history,
    the keys that remember idempotency keys, and for each user the decisions by local id and how many are counted as
    open and as there."""

    models: dict[Slot, tuple[bytes, bytes, bytes]]
    histories: dict[str, list[tuple[str, str, bool]]]
    markers: set[str]
    decisions: dict[str, dict[str, Kept]] = {}
    counted: dict[str, tuple[int, int]] = {}
