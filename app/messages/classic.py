"""The messages on the wire, as msgspec Structs with their bounds, and how request bodies are read.

Reading is lenient where the first clients rely on it: unknown fields are ignored, "3" and 3.0 pass for 3, "true" for
true. What is out of range or not finite is refused, since one such number would spoil a user's A for good.
"""

from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta

from app.messages.basics import Finite, Hour, Priority, Profile, Time, TipId, UserId, Weekday

__all__ = [
    "Candidate",
    "CandidateFeatures",
    "ErasedAnswer",
    "HistoryAnswer",
    "HistoryEntry",
    "HistoryFeatures",
    "ProfileFeatures",
    "RewardRequest",
    "ScoreAnswer",
    "ScoreContext",
    "ScoreRequest",
    "StatisticsAnswer",
    "T",
]

T = TypeVar("T")


class CandidateFeatures(msgspec.Struct, frozen=True, gc=False):
    """What is known of a task: its age in days, its priority from 1 (low) to 4 (urgent)."""

    hour_of_day: Hour = 12
    is_overdue: bool = False
    task_age_days: Finite = 0.0
    priority: Priority = 1


class Candidate(msgspec.Struct, frozen=True, gc=False):
    """A task that could be suggested."""

    id: TipId
    content: str
    source: str
    source_id: str | None = None
    features: CandidateFeatures = CandidateFeatures()


class ScoreContext(msgspec.Struct, frozen=True, gc=False):
    """The moment: hour of the day and day of the week, 0 being the first."""

    hour_of_day: Hour = 12
    day_of_week: Weekday = 0


class ProfileFeatures(msgspec.Struct, frozen=True):
    """What is known of a user's last 30 days, for `egreedy-v2`. A value out of range counts as the nearest in range,
    one that is not a number as absent; other fields are ignored."""

    # For the reference alone: a profile is read as it comes, since no value in it is refused.

    completion_rate_30d: Annotated[
        Annotated[float, Meta(ge=0, le=1)] | None, Meta(description="Share of tips that were done; absent: 0.")
    ] = None
    dismiss_rate_30d: Annotated[
        Annotated[float, Meta(ge=0, le=1)] | None, Meta(description="Share of tips that were dismissed; absent: 0.")
    ] = None
    mean_dwell_ms_30d: Annotated[
        Annotated[float, Meta(ge=0, le=600_000)] | None,
        Meta(description="Mean time for which a tip was looked at, in milliseconds; absent: 0."),
    ] = None
    preferred_hour: Annotated[
        Annotated[float, Meta(ge=0, le=24)] | None,
        Meta(description="Hour of the day at which the user likes tips best; absent: no hour is better than another."),
    ] = None
    tip_volume_30d: Annotated[
        Annotated[float, Meta(ge=0)] | None, Meta(description="Number of tips shown; counts up to 100; absent: 0.")
    ] = None


class ScoreRequest(msgspec.Struct, frozen=True):
    """Which of these candidates should this user be shown now?"""

    user_id: UserId
    candidates: Annotated[list[Candidate], Meta(max_length=1_000, extra_json_schema={"minItems": 1})]
    context: ScoreContext = ScoreContext()
    profile_features: Profile = None


class ScoreAnswer(msgspec.Struct, frozen=True):
    """The chosen candidate's id, its score, and the policy that chose."""

    tip_id: str
    score: float
    policy: str


class RewardRequest(msgspec.Struct, frozen=True):
    """What became of a tip: +1 done, +0.5 helpful, 0 snoozed, -0.5 not helpful, -1 dismissed."""

    user_id: UserId
    tip_id: TipId
    reward: Annotated[float, Meta(ge=-1, le=1)]
    features: CandidateFeatures
    day_of_week: Weekday = 0
    profile_features: Profile = None


_THETA: Final = (
    "One weight for each feature. `linucb-v1`: hour_sin, hour_cos, is_overdue, task_age, priority, in this order; the "
    "other policies name theirs in `feature_labels`."
)


class StatisticsAnswer(msgspec.Struct, frozen=True):
    """What a policy has learned about a user; `policy`, `exploration_rate` and `feature_labels` for policies that
    explore by chance."""

    user_id: str
    pulls: int
    reward_count: int
    cumulative_reward: float
    estimated_mean_reward: float
    theta: Annotated[list[float], Meta(description=_THETA)]
    last_updated: Time | None
    policy: str | msgspec.UnsetType = msgspec.UNSET
    exploration_rate: float | msgspec.UnsetType = msgspec.UNSET
    feature_labels: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET


class HistoryFeatures(msgspec.Struct, frozen=True):
    """The context's hour and what was known of the chosen candidate."""

    hour_of_day: int
    is_overdue: bool
    task_age_days: float
    priority: int
    day_of_week: int | msgspec.UnsetType = msgspec.UNSET
    exploring: bool | msgspec.UnsetType = msgspec.UNSET


class HistoryEntry(msgspec.Struct, frozen=True):
    """One decision."""

    ts: Time
    features: HistoryFeatures
    score: float
    tip_id: str
    policy: str | msgspec.UnsetType = msgspec.UNSET


class HistoryAnswer(msgspec.Struct, frozen=True):
    """A user's last decisions, oldest first."""

    user_id: str
    history: list[HistoryEntry]


class ErasedAnswer(msgspec.Struct, frozen=True):
    """The names of the keys in Redis that were the user's, and are no more."""

    removed: list[str]
