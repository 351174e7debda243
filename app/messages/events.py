"""The events that the service reads."""

from typing import Literal

import msgspec

from app.messages.basics import TipId, UserId

__all__ = ["Happening", "TaskSynced", "TipFeedback"]


class TaskSynced(msgspec.Struct, frozen=True):
    """`signals.task.synced`: a user's tasks were synchronised. All other fields are kept too."""

    user_id: UserId


class TipFeedback(msgspec.Struct, frozen=True):
    """`signals.tip.feedback`: a user reacted to a tip. The reward itself comes over HTTP."""

    user_id: UserId
    tip_id: TipId


Happening = Literal["processed", "failed", "dead_lettered"]
