"""The messages of Azure Personalizer's clients, by their contract 2022-09-01-preview and those before it."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

__all__ = [
    "PREFIX",
    "Action",
    "BaselineSlot",
    "ErrorBody",
    "Learning",
    "ModelProperties",
    "MultiSlotAnswer",
    "MultiSlotRank",
    "MultiSlotReward",
    "PolicyConfiguration",
    "Problem",
    "RankAnswer",
    "RankRequest",
    "RankedAction",
    "RewardRequest",
    "ServiceChange",
    "ServiceConfiguration",
    "SlotAnswer",
    "SlotReward",
    "problem",
]

# Everything below it is theirs: their paths, and their shape of errors.
PREFIX = "/personalizer/"
# Each sees all actions anew.
_MOST_SLOTS = 20

_Id = Annotated[str, Meta(min_length=1, max_length=256)]
_EventId = Annotated[str, Meta(max_length=256)] | None
_Objects = list[dict[str, Any]] | None
_Reward = Annotated[float, Meta(ge=-1, le=1)]
_Actions = Annotated[list["Action"], Meta(min_length=1, max_length=50)]
_Excluded = Annotated[list[str], Meta(max_length=50)] | None
_Days = Annotated[int, Meta(ge=-1, le=2_147_483_647)]
Learning = Literal["Online", "Apprentice", "LoggingOnly"]


class _Camel(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A message whose names are written as theirs."""


class Action(_Camel, frozen=True, kw_only=True):
    """What can be chosen; its features are nested as their sender likes."""

    id: _Id
    features: _Objects = None


class RankRequest(_Camel, frozen=True, kw_only=True):
    """A decision that is wanted."""

    actions: _Actions
    context_features: _Objects = None
    excluded_actions: _Excluded = None
    event_id: _EventId = None
    defer_activation: bool | None = None


class RankedAction(_Camel, frozen=True, kw_only=True):
    """An action and its probability."""

    id: str
    probability: float


class RankAnswer(_Camel, frozen=True, kw_only=True):
    """All actions, and the one to show."""

    ranking: list[RankedAction]
    event_id: str
    reward_action_id: str


class RewardRequest(_Camel, frozen=True, kw_only=True):
    """What the shown action earned."""

    value: _Reward


class BaselineSlot(_Camel, frozen=True, kw_only=True):
    """A place to fill, and the action that it would have without Personalizer."""

    id: _Id
    baseline_action: _Id
    features: _Objects = None
    excluded_actions: _Excluded = None


class MultiSlotRank(_Camel, frozen=True, kw_only=True):
    """A decision for several places."""

    actions: _Actions
    slots: Annotated[list[BaselineSlot], Meta(min_length=1, max_length=_MOST_SLOTS)]
    context_features: _Objects = None
    event_id: _EventId = None
    defer_activation: bool | None = None


class SlotAnswer(_Camel, frozen=True, kw_only=True):
    """The action to show in a place."""

    id: str
    reward_action_id: str


class MultiSlotAnswer(_Camel, frozen=True, kw_only=True):
    """The actions to show."""

    slots: list[SlotAnswer]
    event_id: str


class SlotReward(_Camel, frozen=True, kw_only=True):
    """What the action of a place earned."""

    slot_id: _Id
    value: _Reward


class MultiSlotReward(_Camel, frozen=True, kw_only=True):
    """What the actions of some places earned."""

    reward: Annotated[list[SlotReward], Meta(min_length=1, max_length=50)]


class ServiceConfiguration(_Camel, frozen=True, kw_only=True):
    """How the service learns; durations as ISO 8601 has them."""

    reward_wait_time: str
    default_reward: float
    reward_aggregation: str
    exploration_percentage: float
    model_export_frequency: str
    log_mirror_enabled: bool
    log_retention_days: int
    last_configuration_edit_date: str
    learning_mode: Learning
    is_auto_optimization_enabled: bool
    model_retrain_days: int


class ServiceChange(_Camel, frozen=True, kw_only=True):
    """The same as it is sent; what is left out or null stays."""

    reward_wait_time: str | None = None
    default_reward: _Reward | None = None
    reward_aggregation: Literal["earliest", "sum"] | None = None
    exploration_percentage: Annotated[float, Meta(ge=0, le=1)] | None = None
    model_export_frequency: str | None = None
    log_mirror_enabled: bool | None = None
    log_retention_days: _Days | None = None
    learning_mode: Learning | None = None
    is_auto_optimization_enabled: bool | None = None
    model_retrain_days: _Days | None = None


class PolicyConfiguration(_Camel, frozen=True, kw_only=True):
    """A name, and a command line of Vowpal Wabbit."""

    name: Annotated[str, Meta(min_length=1, max_length=256)]
    arguments: Annotated[str, Meta(min_length=1, max_length=1_024)]


class ModelProperties(_Camel, frozen=True, kw_only=True):
    """When the model was first and last changed; absent for one that was not."""

    creation_time: str | UnsetType = UNSET
    last_modified_time: str | UnsetType = UNSET


class Problem(msgspec.Struct, frozen=True):
    """What is wrong, as a word for programs and a sentence for people."""

    code: str
    message: str


class ErrorBody(msgspec.Struct, frozen=True):
    """The answer to what failed."""

    error: Problem


def problem(code: str, message: str) -> bytes:
    """The body of an error in their shape."""
    return msgspec.json.encode(ErrorBody(Problem(code, message)))
