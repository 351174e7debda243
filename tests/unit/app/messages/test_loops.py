"""The messages of loops and users."""

from typing import Any

import msgspec

from app.messages.loops import (
    LoopAnswer,
    LoopFile,
    LoopsAnswer,
    LoopState,
    OpenDecision,
    PolicyOfUser,
    UnknownField,
    UserAnswer,
)


def test_as_they_are_sent() -> None:
    """Every field is there, also one without a value."""
    loop = LoopState(
        loop="tips",
        state=0,
        champion="p",
        canary=None,
        shadows=[],
        file=LoopFile("p", []),
        window_seconds=60,
        reward_min=-1.0,
        reward_max=1.0,
        default_reward=None,
        late="correct",
        aggregation="first",
        open_max=256,
    )
    sent = msgspec.to_builtins(LoopsAnswer([loop]))["loops"][0]
    assert (sent["default_reward"], sent["window_seconds"], len(sent)) == (None, 60, 13)
    more: dict[str, Any] = {
        "missing": None,
        "evidence": None,
        "health": None,
        "changes": [],
        "unknown_features": "keep",
    }
    more |= {"decisions": 1, "unknown_fields": [UnknownField("user", "x", 1)], "imitated": 0, "matched": 0}
    alone = LoopAnswer(**msgspec.structs.asdict(loop), **more, other_unknown_fields=0, lacked_features=[])
    assert list(msgspec.to_builtins(alone))[:13] == list(sent)
    learned = PolicyOfUser(1, 0, 0, 0.0, None, {"1": 0.5}, {"1": 1.0})
    waiting = OpenDecision("a.YQ", "tips", "rent", "open", "2026-11-29T09:00:00Z")
    user = msgspec.to_builtins(UserAnswer("ann", {"p": learned}, [waiting]))
    assert user["policies"]["p"]["theta"] == {"1": 0.5}
    assert user["open"][0]["decision_id"] == "a.YQ"
