"""The messages of the first API: score, reward, statistics, history.

Reading is lenient where the first clients rely on it: unknown fields are ignored, "3" and 3.0 are read as 3, "true" as
true. Numbers out of range are refused: one infinite number would spoil a user's model for good.
"""

from typing import Annotated, TypeVar

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
    """The features of a task: its age in days, its priority from 1 (low) to 4 (urgent)."""

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
    """The moment: hour of the day and day of the week, both from 0."""

    hour_of_day: Hour = 12
    day_of_week: Weekday = 0


class ProfileFeatures(msgspec.Struct, frozen=True):
    """A user's last 30 days, for the policies that use them. A value out of range counts as the nearest in range, and
    one that is not a number as absent. Other fields are ignored."""

    # Only the reference uses this type. A profile is read as it is: no value in it is refused.

    completion_rate_30d: Annotated[
        Annotated[float, Meta(ge=0, le=1)] | None, Meta(description="Share of tips that were done; absent: 0.")
    ] = None
    dismiss_rate_30d: Annotated[
        Annotated[float, Meta(ge=0, le=1)] | None,
        Meta(description="Share of tips that were dismissed; absent: 0."),
    ] = None
    mean_dwell_ms_30d: Annotated[
        Annotated[float, Meta(ge=0, le=600_000)] | None,
        Meta(description="Mean time that the user looked at a tip, in milliseconds; absent: 0."),
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
    """The outcome of a tip: +1 done, +0.5 helpful, 0 snoozed, -0.5 not helpful, -1 dismissed."""

    user_id: UserId
    tip_id: TipId
    reward: Annotated[float, Meta(ge=-1, le=1)]
    features: CandidateFeatures
    day_of_week: Weekday = 0
    profile_features: Profile = None


class StatisticsAnswer(msgspec.Struct, frozen=True):
    """What a policy has learned about a user. Policies that explore by chance also have `policy`, `exploration_rate`
    and `feature_labels`."""

    user_id: str
    pulls: int
    reward_count: int
    cumulative_reward: float
    estimated_mean_reward: float
    theta: list[float]
    last_updated: Time | None
    policy: str | msgspec.UnsetType = msgspec.UNSET
    exploration_rate: float | msgspec.UnsetType = msgspec.UNSET
    feature_labels: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET


class HistoryFeatures(msgspec.Struct, frozen=True):
    """The hour of the context, and the features of the chosen candidate."""

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
    """The names of the removed keys in Redis."""

    removed: list[str]
