"""Logs to judge: the ones whose numbers other programs have computed, and made ones that change in one thing."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from app.bandit.ridge import Matrix, Vector
from app.evaluation.logged import Logged

__all__ = ["draw", "facts", "few", "greedy", "logged", "made", "many"]

DATA = Path(__file__).parents[3] / "data" / "evidence.json"


@cache
def facts() -> dict[str, Any]:
    """What stands in tests/data/evidence.json."""
    found: dict[str, Any] = json.loads(DATA.read_text())
    return found


def few(**changes: Any) -> Logged:
    """20 decisions, each of another user: the policies `h`, which was drawn from, and `e`."""
    return _given(facts()["few"], **changes)


def many(**changes: Any) -> Logged:
    """240 decisions of 30 users, with features."""
    data = facts()["many"]
    columns = {"context": np.array(data["context"])[:, None], "features": np.array(data["features"]).reshape(-1, 1)}
    return _given(data, **(columns | changes))


def _given(data: dict[str, Any], **changes: Any) -> Logged:
    h, e = np.array(data["h"]), np.array(data["e"])
    return logged(h, {"h": h, "e": e}, np.array(data["a"]), np.array(data["r"]), data["user"], **changes)


def logged(
    h: Matrix, policies: dict[str, Matrix], chosen: Any, reward: Vector, users: Any, /, **changes: Any
) -> Logged:
    """A log from matrices (n x k), of which `h` is the champion's unless it is said; rewards from 0 to 1."""
    n, k = h.shape
    parts: dict[str, Any] = {
        "champion": next(iter(policies)),
        "starts": np.arange(0, n * k + 1, k),
        "propensities": h.ravel(),
        "by_policy": {name: p.ravel() for name, p in policies.items()},
        "chosen": np.asarray(chosen),
        "reward": reward,
        "reward_in_time": changes.get("reward", reward),
        # The remainder by 64 is the bucket, and what is left the fold.
        "user": np.asarray(users, np.uint64) * np.uint64(64) + np.asarray(users, np.uint64) % np.uint64(64),
        "hour": np.zeros(n, np.int64),
        "matured": np.ones(n, bool),
        "shown": np.ones(n, bool),
        "eras": {},
        "share": np.zeros(n),
        "excluded": np.zeros(n * k, bool),
        "context": np.zeros((n, 0)),
        "features": np.zeros((n * k, 0)),
        "low": 0.0,
    }
    return Logged(**(parts | changes))


def draw(p: Matrix, chance: np.random.Generator) -> Any:
    """One choice from each row of probabilities."""
    return (p.cumsum(axis=1) > chance.random((len(p), 1))).argmax(axis=1)


def greedy(values: Matrix, epsilon: float) -> Matrix:
    """The probabilities (n x k) of the greedy choice with a floor of epsilon / k."""
    p = np.full(values.shape, epsilon / values.shape[1])
    p[np.arange(len(p)), values.argmax(axis=1)] += 1.0 - epsilon
    return p


def made(n: int = 4_000, *, k: int = 4, epsilon: float = 0.4, seed: int = 0, **changes: Any) -> Logged:
    """A sound log of 100 users over 50 hours, whose challenger is greedy for another feature than its champion.

    The first feature is worth more than the second.
    """
    chance = np.random.default_rng(seed)
    z = chance.normal(size=(n, k, 2))
    c, e = greedy(z[..., 0], epsilon), greedy(z[..., 1], epsilon)
    h = changes.pop("h", c)
    chosen = draw(changes.pop("drawn_from", h), chance)
    mean = 0.5 + 0.2 * np.tanh(z[..., 0]) + 0.1 * np.tanh(z[..., 1])
    reward = (chance.random(n) < mean[np.arange(n), chosen]).astype(np.float64)
    parts = {"hour": np.arange(n) * 50 // n, "features": z.reshape(-1, 2)} | changes
    return logged(h, {"champion": c, "challenger": e}, chosen, reward, chance.integers(0, 100, n), **parts)
