"""The messages of loops, and of what they have made of a user."""

import msgspec

from app.messages.basics import Time

__all__ = ["LoopState", "LoopsAnswer", "OpenDecision", "PolicyOfUser", "UserAnswer"]


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
