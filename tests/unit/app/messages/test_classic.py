"""The first API's messages: what may be left out, what is out of bounds, what is answered."""

from typing import Any

import msgspec
import pytest

from app.messages.classic import (
    CandidateFeatures,
    HistoryEntry,
    HistoryFeatures,
    RewardRequest,
    ScoreContext,
    ScoreRequest,
    StatisticsAnswer,
)

REWARD: dict[str, Any] = {"user_id": "ann", "tip_id": "t", "reward": 1, "features": {}}
CANDIDATE: dict[str, Any] = {"id": "t", "content": "x", "source": "s"}


def test_what_may_be_left_out() -> None:
    """Noon of the first day, a fresh task of the least priority, no profile."""
    told = msgspec.convert(REWARD, RewardRequest)
    assert (told.features, told.day_of_week, told.profile_features) == (CandidateFeatures(12, False, 0.0, 1), 0, None)
    asked = msgspec.convert({"user_id": "ann", "candidates": [CANDIDATE]}, ScoreRequest)
    assert (asked.context, asked.candidates[0].features) == (ScoreContext(12, 0), CandidateFeatures())


@pytest.mark.parametrize(
    ("type_", "message"),
    [
        (RewardRequest, REWARD | {"reward": 1.01}),
        (RewardRequest, REWARD | {"reward": -1.01}),
        (RewardRequest, REWARD | {"user_id": ""}),
        (RewardRequest, REWARD | {"day_of_week": 7}),
        (RewardRequest, REWARD | {"features": {"task_age_days": float("inf")}}),
        (RewardRequest, {name: value for name, value in REWARD.items() if name != "features"}),
        (ScoreRequest, {"user_id": "ann", "candidates": [CANDIDATE] * 1_001}),
        (ScoreRequest, {"user_id": "ann", "candidates": [CANDIDATE | {"features": {"priority": 0}}]}),
        (ScoreRequest, {"user_id": "ann"}),
    ],
)
def test_what_is_refused(type_: Any, message: dict[str, Any]) -> None:
    """One number out of range would spoil a model for good."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(message, type_)


def test_fields_of_policies_that_explore_are_absent_for_others() -> None:
    """Absent and not null, as the first clients expect."""
    statistics = msgspec.to_builtins(StatisticsAnswer("ann", 0, 0, 0.0, 0.0, [], None))
    assert statistics.keys().isdisjoint({"policy", "exploration_rate", "feature_labels"})
    assert statistics["last_updated"] is None
    entry = msgspec.to_builtins(HistoryEntry("now", HistoryFeatures(9, False, 1.0, 1), 0.0, "t"))
    assert entry.keys() == {"ts", "features", "score", "tip_id"}
    assert entry["features"].keys() == {"hour_of_day", "is_overdue", "task_age_days", "priority"}
