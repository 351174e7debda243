"""The events that the service reads."""

from typing import Literal

import msgspec

from app.messages.basics import Finite, TipId, UserId
from app.messages.decisions import DecisionId, Part

__all__ = ["DecisionReward", "Happening", "TaskSynced", "TipFeedback"]


class TaskSynced(msgspec.Struct, frozen=True):
    """`signals.task.synced`: a user's tasks were synchronised. All other fields are kept too."""

    user_id: UserId


class TipFeedback(msgspec.Struct, frozen=True):
    """`signals.tip.feedback`: a user reacted to a tip. The reward itself comes over HTTP."""

    user_id: UserId
    tip_id: TipId


class DecisionReward(msgspec.Struct, frozen=True):
    """`feedback.decision.reward`: the outcome of a decision with an id; `part` as over HTTP."""

    decision_id: DecisionId
    reward: Finite
    part: Part | None = None


Happening = Literal["processed", "failed", "dead_lettered"]
