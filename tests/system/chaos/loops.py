"""The loops of `policies.toml` as clients know them, what they send, and the columns that must come of it."""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tests.support.told import Loop

__all__ = ["BASELINES", "FILE", "LOOPS", "SIZES", "columns", "draw_context", "draw_features", "draw_user"]

FILE: Final = Path(__file__).with_name("policies.toml")
SIZES: Final = {"linucb-v1": 5, "egreedy-v1": 7, "egreedy-v2": 12, "serves": 4, "watches": 3}
BASELINES: Final = {"watches": 0.5}
LOOPS: Final = {
    "patient": Loop(champion="serves", shadows=("watches",), seconds=3_600),
    "mixed": Loop(champion="egreedy-v1", shadows=("linucb-v1", "egreedy-v2", "watches"), seconds=3_600),
    "brief": Loop(champion="serves", shadows=("watches", "linucb-v1"), seconds=2, default=-0.5),
    "strict": Loop(champion="serves", shadows=("watches",), seconds=2, default=0.25, discards=True),
    "parts": Loop(champion="serves", shadows=("watches", "egreedy-v1"), seconds=2, default=-0.25, adds_up=True),
}


def draw_context(draw: random.Random) -> dict[str, Any]:
    """Hour and day are always 0, where sine and cosine are exact."""
    return {"hour_of_day": 0, "day_of_week": 0, "mood": draw.randrange(9) / 8}


def draw_user(draw: random.Random) -> dict[str, Any]:
    completed, dismissed, dwell = (draw.randrange(9) for _ in range(3))
    return {
        "completion_rate_30d": completed / 8,
        "dismiss_rate_30d": dismissed / 8,
        "mean_dwell_ms_30d": 600_000 * dwell / 8,
        "preferred_hour": draw.choice([0, None]),
        "tip_volume_30d": draw.choice([0, 100]),
    }


def draw_features(draw: random.Random) -> dict[str, Any]:
    """What is said of a candidate."""
    return {
        "is_overdue": draw.random() < 0.5,
        "task_age_days": 30 * draw.randrange(9) / 8,
        "priority": draw.choice([1, 4]),
        "size": draw.randrange(9) / 8,
        "side": draw.randrange(9) / 8,
    }


def columns(
    policy: str, context: Mapping[str, Any], user: Mapping[str, Any], features: Mapping[str, Any]
) -> tuple[float, ...]:
    """The columns of a policy for what `draw_…` drew."""
    if policy in ("serves", "watches"):
        size, side, mood = features["size"], features["side"], context["mood"]
        return (1.0, size, side, mood * size) if policy == "serves" else (1.0, size, mood)
    clock = (0.0, 1.0)
    task = (float(features["is_overdue"]), features["task_age_days"] / 30, (features["priority"] - 1) / 3)
    profile = (
        user["completion_rate_30d"],
        user["dismiss_rate_30d"],
        user["mean_dwell_ms_30d"] / 600_000,
        0.5 if user["preferred_hour"] is None else 1.0,
        user["tip_volume_30d"] / 100,
    )
    return (*clock, *task, *clock, *profile)[: SIZES[policy]]
