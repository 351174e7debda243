"""The messages of loops and users."""

from typing import Any

import msgspec

from app.messages.loops import (
    LoopAnswer,
    LoopsAnswer,
    LoopState,
    OpenDecision,
    PolicyOfUser,
    UnknownField,
    UserAnswer,
)


def test_as_they_are_sent() -> None:
    """Every field is there, also one without a value."""
    loop = LoopState("tips", "p", [], 60, -1.0, 1.0, None, "correct", "first", 256)
    sent = msgspec.to_builtins(LoopsAnswer([loop]))["loops"][0]
    assert (sent["default_reward"], sent["window_seconds"], len(sent)) == (None, 60, 10)
    whole: list[Any] = [*sent.values(), None, "keep", 1, [UnknownField("user", "x", 1)], 0, []]
    alone = LoopAnswer(*whole)
    assert list(msgspec.to_builtins(alone))[:10] == list(sent)
    learned = PolicyOfUser(1, 0, 0, 0.0, None, {"1": 0.5}, {"1": 1.0})
    waiting = OpenDecision("a.YQ", "tips", "rent", "open", "2026-11-29T09:00:00Z")
    user = msgspec.to_builtins(UserAnswer("ann", {"p": learned}, [waiting]))
    assert user["policies"]["p"]["theta"] == {"1": 0.5}
    assert user["open"][0]["decision_id"] == "a.YQ"
