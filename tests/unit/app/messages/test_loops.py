"""The messages of loops and users."""

from typing import Any

import msgspec
import pytest

from app.messages.loops import (
    LoopAnswer,
    LoopFile,
    LoopRequest,
    LoopsAnswer,
    LoopState,
    OpenDecision,
    PolicyOfUser,
    UnknownField,
    UserAnswer,
)


def test_as_they_are_sent() -> None:
    """Every field is there, also one without a value."""
    loop = LoopState("tips", 0, "p", None, [], LoopFile("p", []), 60, -1.0, 1.0, None, "correct", "first", 256)
    sent = msgspec.to_builtins(LoopsAnswer([loop]))["loops"][0]
    assert (sent["default_reward"], sent["window_seconds"], len(sent)) == (None, 60, 13)
    whole: list[Any] = [*sent.values(), None, None, [], "keep", 1, [UnknownField("user", "x", 1)], 0, []]
    alone = LoopAnswer(*whole)
    assert list(msgspec.to_builtins(alone))[:13] == list(sent)
    learned = PolicyOfUser(1, 0, 0, 0.0, None, {"1": 0.5}, {"1": 1.0})
    waiting = OpenDecision("a.YQ", "tips", "rent", "open", "2026-11-29T09:00:00Z")
    user = msgspec.to_builtins(UserAnswer("ann", {"p": learned}, [waiting]))
    assert user["policies"]["p"]["theta"] == {"1": 0.5}
    assert user["open"][0]["decision_id"] == "a.YQ"


def test_what_may_be_asked() -> None:
    """A canary with up to half of the decisions; the texts are bounded."""
    read = msgspec.json.Decoder(LoopRequest).decode
    assert read(b'{"canary":{"policy":"p","share":0.5},"because":"x"}').because == "x"
    assert read(b'{"back":true}').back
    for body in (
        b'{"canary":{"policy":"p","share":0.51}}',
        b'{"canary":{"policy":"p","share":0}}',
        b'{"canary":{"policy":"","share":0.1}}',
        b'{"champion":"%s"}' % (b"x" * 65),
        b'{"because":"%s"}' % (b"x" * 1_001),
    ):
        with pytest.raises(msgspec.ValidationError):
            read(body)
