"""Rank requests as decisions, and decisions as their answers."""

from typing import Any

import msgspec
import pytest

from app.decisions.asked import Slot
from app.decisions.decide import Candidate
from app.messages.personalizer import MultiSlotRank, RankRequest
from app.personalizer.errors import Refusal
from app.personalizer.ranks import asked_of, baseline_of, baselines_of, rank_answer, slots_answer, slots_of
from tests.unit.state.values.test_decision import RECORD


def rank(**more: Any) -> RankRequest:
    actions = [{"id": name, "features": [{"kind": name}]} for name in "abcd"]
    return msgspec.convert({"actions": actions, **more}, RankRequest)


def test_what_is_asked() -> None:
    """The features as they came, under one name; what is excluded and no action counts for nothing."""
    sent = rank(contextFeatures=[{"day": {"name": "monday"}}], excludedActions=["c", "z"], deferActivation=True)
    asked = asked_of(sent, user="app", loop="personalizer", local="x")
    assert asked.context.moment == {"features": [{"day": {"name": "monday"}}]}
    assert asked.candidates[0] == Candidate("a", {"features": [{"kind": "a"}]})
    assert (asked.excluded, asked.deferred, asked.local, asked.allowed()) == (["c"], True, "x", [0, 1, 3])


def test_an_action_without_features_is_told_by_its_id() -> None:
    """Else nothing could be learned of it."""
    sent = rank(actions=[{"id": "a", "features": []}, {"id": "b"}])
    asked = asked_of(sent, user="app", loop="personalizer", local="x")
    assert [each.features for each in asked.candidates] == [{"features": [{"id": "a"}]}, {"features": [{"id": "b"}]}]


@pytest.mark.parametrize("more", [{"actions": [{"id": "a"}, {"id": "a"}]}, {"excludedActions": ["d", "c", "b", "a"]}])
def test_what_cannot_be_decided(more: dict[str, Any]) -> None:
    """By the code of their contract."""
    with pytest.raises(Refusal) as refused:
        asked_of(rank(**more), user="app", loop="personalizer", local="x")
    assert refused.value.code == "InvalidRankRequest"


@pytest.mark.parametrize(
    ("chosen", "order"),
    [(3, "dbac"), (0, "abdc"), (2, "cbda")],
)
def test_the_answer(chosen: int, order: str) -> None:
    """The action that was drawn, then the others by their probability; an excluded one keeps its place."""
    shares = {"a": 0.1, "b": 0.0, "c": 0.1, "d": 0.8}
    made = msgspec.structs.replace(RECORD, ids=[*shares], propensities=[*shares.values()], chosen=chosen)
    answer = rank_answer(made, ["b"], "e1")
    assert "".join(each.id for each in answer.ranking) == order
    assert {each.id: each.probability for each in answer.ranking} == shares
    assert (answer.event_id, answer.reward_action_id) == ("e1", made.ids[chosen])


def test_baseline() -> None:
    """The first action that is not excluded; or what each slot names."""
    asked = asked_of(rank(excludedActions=["a", "z"]), user="app", loop="personalizer", local="x")
    assert baseline_of(asked) == {"": "b"}
    assert baselines_of(slots(a="a", b="c")) == {"a": "a", "b": "c"}


def slots(**baselines: str) -> MultiSlotRank:
    actions = [{"id": name} for name in "abc"]
    wanted = [{"id": slot, "baselineAction": action} for slot, action in baselines.items()]
    return msgspec.convert({"actions": actions, "slots": wanted, "contextFeatures": [{"day": 1}]}, MultiSlotRank)


def test_slots() -> None:
    """What is said of a slot is seen beside the context."""
    sent = slots(a="a", b="b")
    wide = msgspec.structs.replace(sent.slots[0], features=[{"size": "large"}], excluded_actions=["c", "z"])
    first, second = slots_of(msgspec.structs.replace(sent, slots=[wide, sent.slots[1]]))
    assert first == Slot(id="a", features={"features": [{"day": 1}, {"slot": [{"size": "large"}]}]}, excluded=["c"])
    assert (second.features, second.excluded) == ({"features": [{"day": 1}, {"slot": []}]}, [])


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (slots(a="a", b="a"), "slots: b: baselineAction: a is that of another slot"),
        (slots(a="z"), "slots: a: baselineAction: takes the id of an action that is not excluded"),
        (slots(a="a", b="b", c="c", d="a"), "slots: 4 need as many actions, and there are 3"),
    ],
)
def test_slots_that_cannot_be(sent: MultiSlotRank, said: str) -> None:
    """Baselines are different actions that are allowed."""
    with pytest.raises(Refusal, match=said):
        slots_of(sent)


def test_the_answer_for_slots() -> None:
    """Each with its action."""
    made = [msgspec.structs.replace(RECORD, slot=slot) for slot in "ab"]
    shown = RECORD.ids[RECORD.chosen]
    assert [(each.id, each.reward_action_id) for each in slots_answer(made, "e").slots] == [("a", shown), ("b", shown)]
