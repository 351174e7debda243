"""The messages of Azure Personalizer's clients: names as theirs, bounds, and errors in their shape."""

from typing import Any

import msgspec
import pytest

from app.messages.personalizer import (
    MultiSlotRank,
    MultiSlotReward,
    PolicyConfiguration,
    RankAnswer,
    RankedAction,
    RankRequest,
    RewardRequest,
    problem,
)

ONE = [{"id": "a"}]
SLOT = {"id": "s", "baselineAction": "a"}


def test_names() -> None:
    """As they are written on the wire; null is as good as nothing."""
    sent = {"actions": ONE, "contextFeatures": None, "excludedActions": ["a"], "eventId": "e", "deferActivation": None}
    found = msgspec.convert(sent, RankRequest)
    assert (found.excluded_actions, found.event_id, found.actions[0].features) == (["a"], "e", None)
    answer = RankAnswer(ranking=[RankedAction(id="a", probability=1.0)], event_id="e", reward_action_id="a")
    assert msgspec.json.encode(answer) == (
        b'{"ranking":[{"id":"a","probability":1.0}],"eventId":"e","rewardActionId":"a"}'
    )


@pytest.mark.parametrize(
    ("type_", "sent"),
    [
        (RankRequest, {"actions": []}),
        (RankRequest, {"actions": ONE * 51}),
        (RankRequest, {"actions": [{"id": "x" * 257}]}),
        (RankRequest, {"actions": ONE, "eventId": "x" * 257}),
        (RankRequest, {"actions": ONE, "contextFeatures": {"a": 1}}),
        (RewardRequest, {"value": 1.01}),
        (RewardRequest, {"value": float("nan")}),
        (RewardRequest, {}),
        (MultiSlotRank, {"actions": ONE, "slots": []}),
        (MultiSlotRank, {"actions": ONE, "slots": [SLOT] * 21}),
        (MultiSlotReward, {"reward": []}),
        (PolicyConfiguration, {"name": "p", "arguments": "x" * 1_025}),
    ],
)
def test_bounds(type_: Any, sent: Any) -> None:
    """Those of their contract."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(sent, type_)


def test_an_error() -> None:
    """A code and a message within `error`."""
    assert problem("InvalidRankRequest", "no") == b'{"error":{"code":"InvalidRankRequest","message":"no"}}'
