"""The messages of loops, and of what they have made of a user."""

from typing import Literal

import msgspec

from app.messages.basics import Time

__all__ = [
    "LackedFeature",
    "LoopAnswer",
    "LoopState",
    "LoopsAnswer",
    "OpenDecision",
    "PolicyOfUser",
    "UnknownField",
    "UserAnswer",
]

Of = Literal["context", "user", "candidate"]


class LoopState(msgspec.Struct, frozen=True):
    """A loop: who serves it, who is scored beside, and what its rewards are."""

    loop: str
    champion: str
    shadows: list[str]
    window_seconds: int
    reward_min: float
    reward_max: float
    default_reward: float | None
    late: str
    aggregation: str
    open_max: int


class LoopsAnswer(msgspec.Struct, frozen=True):
    """All loops."""

    loops: list[LoopState]


class UnknownField(msgspec.Struct, frozen=True):
    """A field that came in some decisions, and that no feature of the loop reads."""

    of: Of
    field: str
    decisions: int


class LackedFeature(msgspec.Struct, frozen=True):
    """A feature that had no value in some decisions, or none that can be read: its default stood in. Its value is in
    `field`."""

    feature: str
    of: Of
    field: str
    decisions: int


class LoopAnswer(LoopState, frozen=True):
    """A loop, and what its decisions brought that nothing reads, and lacked: most often first, counted by the process
    that answers, since it read its policies. `other_unknown_fields` counts fields beyond the first 64 names."""

    missing: float | None
    unknown_features: Literal["keep", "refuse"]
    decisions: int
    unknown_fields: list[UnknownField]
    other_unknown_fields: int
    lacked_features: list[LackedFeature]


class PolicyOfUser(msgspec.Struct, frozen=True):
    """What a policy did for a user and learned: its counters, and by the name of each column the estimate and its
    standard error, in units of the reward's deviation."""

    pulls: int
    explore_count: int
    reward_count: int
    cumulative_reward: float
    last_updated: Time | None
    theta: dict[str, float]
    standard_error: dict[str, float]


class OpenDecision(msgspec.Struct, frozen=True):
    """A decision without an outcome: what was chosen, and until when a reward is in time."""

    decision_id: str
    loop: str
    candidate_id: str
    status: str
    deadline: Time


class UserAnswer(msgspec.Struct, frozen=True):
    """What each policy learned about a user, and the decisions that have no outcome yet, oldest first."""

    user_id: str
    policies: dict[str, PolicyOfUser]
    open: list[OpenDecision]
