"""Lines for tests."""

from typing import Any

from app.decision_log.lines import Candidate, Decision, Outcome, State, Taught, moment

__all__ = ["BEGIN", "decision", "outcome", "state"]

# 2026-11-28T09:00:00.123Z
BEGIN = 1_795_856_400_123


def decision(seq: int = 1, user: str = "ann", ms: int = BEGIN, **other: Any) -> Decision:
    """A decision between two candidates, of which the first was chosen."""
    said: dict[str, Any] = {
        "id": f"d{seq}.YW5u",
        "user": user,
        "epoch": "9f2c",
        "seq": seq,
        "ts": moment(ms),
        "loop": "tips",
        "policy": "egreedy-v1",
        "arm": "champion",
        "versions": {"egreedy-v1": "1f3c"},
        "prior": {"tips-v3": 12},
        "state": 7,
        "seed": "18446744073709551615",
        "context": {"hour_of_day": 9},
        "user_features": {},
        "candidates": [Candidate("rent", {"priority": 4}), Candidate("walk", {})],
        "x": {"1": 1.0, "overdue": 0.1},
        "propensities": [0.95, 0.05],
        "chosen": 0,
        "propensity": 0.95,
        "by_policy": {"egreedy-v1": [0.95, 0.05], "tips-v3": [0.99, 0.01]},
        "window_s": 86_400,
        "default_reward": None,
        "deferred": False,
    }
    return Decision(**{**said, **other})


def outcome(seq: int = 2, user: str = "ann", ms: int = BEGIN + 1_000, **other: Any) -> Outcome:
    """The reward of the decision that is line 1."""
    said: dict[str, Any] = {
        "id": "d1.YW5u",
        "user": user,
        "epoch": "9f2c",
        "seq": seq,
        "born": 1,
        "n": 1,
        "ts": moment(ms),
        "what": "applied",
        "reward": 0.5,
        "total": 0.5,
        "late": False,
        "learned": ["egreedy-v1"],
        "loop": "tips",
        "decided": moment(BEGIN),
        "taught": {"egreedy-v1": Taught("aa", "bb", 1, forget=0.998)},
    }
    return Outcome(**{**said, **other})


def state(seq: int = 3, user: str = "ann", ms: int = BEGIN + 2_000, **other: Any) -> State:
    """A reset."""
    said: dict[str, Any] = {"user": user, "epoch": "9f2c", "seq": seq, "ts": moment(ms), "what": "reset"}
    return State(**{**said, **other})
