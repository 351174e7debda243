"""The messages on the wire, as msgspec Structs with their bounds, and how request bodies are read.

Reading is lenient where the first clients rely on it: unknown fields are ignored, "3" and 3.0 pass for 3, "true" for
true. What is out of range or not finite is refused, since one such number would spoil a user's A for good.
"""

import sys
from collections.abc import Callable
from typing import Annotated, Any, Final, Generic, TypeVar

import msgspec
from msgspec import Meta

from app.decoding import decoded

__all__ = [
    "Candidate",
    "CandidateFeatures",
    "ErasedAnswer",
    "ErrorAnswer",
    "GenerateAnswer",
    "GenerateContext",
    "GenerateRequest",
    "GeneratedCandidate",
    "HistoryAnswer",
    "HistoryEntry",
    "HistoryFeatures",
    "Ok",
    "ProfileFeatures",
    "PromptList",
    "Reader",
    "RewardRequest",
    "ScoreAnswer",
    "ScoreContext",
    "ScoreRequest",
    "StatisticsAnswer",
    "Unreadable",
]

T = TypeVar("T")

Hour = Annotated[int, Meta(ge=0, le=23)]
Weekday = Annotated[int, Meta(ge=0, le=6)]
Priority = Annotated[int, Meta(ge=1, le=4)]
Finite = Annotated[float, Meta(ge=-sys.float_info.max, le=sys.float_info.max)]
UserId = Annotated[str, Meta(min_length=1, max_length=256)]
TipId = Annotated[str, Meta(max_length=256)]
Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
Profile = Annotated[dict[str, Any], Meta(extra_json_schema={"$ref": "#/components/schemas/ProfileFeatures"})] | None


class Unreadable(ValueError):
    """A body is not the message it should be; the text says where and why."""


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


class Ok(msgspec.Struct, frozen=True):
    """It is done."""

    ok: bool = True


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


class GenerateContext(msgspec.Struct, frozen=True):
    """What the language model is told: the user's tasks, the moment, and anything else."""

    tasks: list[dict[str, Any]] = []
    hour_of_day: Hour = 12
    day_of_week: Weekday = 0
    extra: dict[str, Any] = {}


class GenerateRequest(msgspec.Struct, frozen=True):
    """Make `n` candidates for this user; `profile_features` is taken and not shown to the model."""

    user_id: UserId
    context: GenerateContext = msgspec.field(default_factory=GenerateContext)
    n: Annotated[int, Meta(ge=1, le=20)] = 3
    prompt_version: str | None = None
    profile_features: Profile = None


class GeneratedCandidate(msgspec.Struct, frozen=True):
    """A tip the language model made."""

    id: str
    content: str
    rationale: str | None = None
    source: str = "llm"


class GenerateAnswer(msgspec.Struct, frozen=True):
    """The tips and what they cost, tokens summed over all tries."""

    candidates: list[GeneratedCandidate]
    model: str
    prompt_version: str
    prompt_tokens: int
    completion_tokens: int


class PromptList(msgspec.Struct, frozen=True):
    """The prompt versions, and which is used when a request names none."""

    versions: list[str]
    default: str


class ErasedAnswer(msgspec.Struct, frozen=True):
    """The names of the keys in Redis that were the user's, and are no more."""

    removed: list[str]


class ErrorAnswer(msgspec.Struct, frozen=True):
    """What was wrong."""

    detail: str


class Reader(Generic[T]):
    """Reads bodies of one type; `untyped` makes a float of a number where any type may stand.

    What `app.decoding` mends is taken: in a profile NaN counts as absent.
    """

    def __init__(self, type_: type[T], *, untyped: Callable[[str], float] | None = None) -> None:
        self._decode = msgspec.json.Decoder(type_, strict=False, float_hook=untyped).decode

    def __call__(self, body: bytes) -> T:
        """The message in `body`. Raises Unreadable, saying what is wrong and where."""
        try:
            if not body.isascii():
                body.decode()  # the decoder does not look into fields that are ignored
            return decoded(self._decode, body, loose="profile_features")
        except msgspec.ValidationError as error:
            raise Unreadable(str(error)) from None
        except msgspec.DecodeError as error:
            raise Unreadable(f"the body is not JSON: {error}") from None
        except UnicodeDecodeError:
            raise Unreadable("the body is not UTF-8") from None
        except RecursionError:
            raise Unreadable("the body is nested too deeply") from None
