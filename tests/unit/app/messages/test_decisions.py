"""The messages of decisions: what may be left out, and what is out of bounds."""

from typing import Any

import msgspec
import pytest

from app.messages.decisions import (
    DecisionRequest,
    DecisionsRequest,
    OutcomeAnswer,
    OutcomeRequest,
    RetractionQuery,
    RewardsRequest,
)
from app.messages.reading import Unreadable, read_query

ASKED: dict[str, Any] = {"user_id": "ann", "candidates": [{"id": "a"}]}
REWARD: dict[str, Any] = {"decision_id": "x.YW5u", "reward": 1}


def test_what_may_be_left_out() -> None:
    """The built-in loop, no features, nothing excluded, not deferred."""
    asked = msgspec.convert(ASKED, DecisionRequest)
    assert (asked.id, asked.loop, asked.context, asked.user, asked.exclude, asked.defer) == (
        None,
        "tips",
        {},
        {},
        [],
        False,
    )
    assert asked.candidates[0].features == {}


@pytest.mark.parametrize(
    ("type_", "message"),
    [
        (DecisionRequest, ASKED | {"user_id": ""}),
        (DecisionRequest, ASKED | {"id": ""}),
        (DecisionRequest, ASKED | {"id": "x" * 129}),
        (DecisionRequest, ASKED | {"id": "a.b"}),
        (DecisionRequest, ASKED | {"id": "a\n"}),
        (DecisionRequest, ASKED | {"candidates": []}),
        (DecisionRequest, ASKED | {"candidates": [{"id": "a"}] * 1_001}),
        (DecisionRequest, ASKED | {"loop": "l" * 65}),
        (DecisionsRequest, {"decisions": []}),
        (DecisionsRequest, {"decisions": [ASKED] * 101}),
        (RewardsRequest, {"rewards": [REWARD] * 101}),
        (RewardsRequest, {"rewards": [{"decision_id": "x"}]}),
        (OutcomeRequest, {}),
        (OutcomeRequest, {"reward": float("nan")}),
        (OutcomeRequest, {"reward": float("inf")}),
        (OutcomeRequest, {"reward": "much"}),
        (OutcomeRequest, {"reward": 1, "part": ""}),
        (OutcomeRequest, {"reward": 1, "part": "a b"}),
        (OutcomeRequest, {"reward": 1, "part": "p" * 129}),
        (OutcomeRequest, {"reward": 1, "if_n": -1}),
    ],
)
def test_what_is_refused(type_: Any, message: dict[str, Any]) -> None:
    """Before any key is read."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(message, type_)


def test_what_is_left_out_of_an_answer() -> None:
    """`late` and `skipped`, unless there is something to say."""
    answer = msgspec.to_builtins(OutcomeAnswer("x.YW5u", "applied", "rewarded", 1.0, 1, None))
    assert answer.keys() == {"decision_id", "outcome", "status", "reward", "n", "rewarded_at"}


def test_a_query() -> None:
    """Texts are read as what they are meant to be."""
    assert read_query(RetractionQuery, [("part", "a"), ("if_n", "2")]) == RetractionQuery("a", 2)
    for odd in (("if_n", "x"), ("if_n", "-1"), ("part", "a b")):
        with pytest.raises(Unreadable):
            read_query(RetractionQuery, [odd])
