"""The rows of loops, and of what they have made of the user of the decisions' conversation."""

from collections.abc import Mapping
from typing import Any, Final

from app.messages.loops import (
    LackedFeature,
    LoopAnswer,
    LoopsAnswer,
    LoopState,
    OpenDecision,
    PolicyOfUser,
    UserAnswer,
)
from app.reference.decisions import DEADLINE, DECIDED, FIRST, LOOP, PLANS, USER, row
from app.reference.described import BUSY, NO_USER, Described, Failure

__all__ = ["LOOPS", "USERS"]

_CHAMPION: Final = PLANS[LOOP.name].policies[0]

_SETTINGS: Final[Mapping[str, Any]] = {
    "loop": LOOP.name,
    "champion": LOOP.champion,
    "shadows": list(LOOP.shadows),
    "window_seconds": LOOP.window,
    "reward_min": LOOP.low,
    "reward_max": LOOP.high,
    "default_reward": LOOP.default_reward,
    "late": LOOP.late,
    "aggregation": LOOP.aggregation,
    "open_max": LOOP.open_max,
}
# What the decisions of the conversation do not say: one of all its candidates, or any.
_LACKED: Final = {
    *("completion_rate_30d", "dismiss_rate_30d", "mean_dwell_ms_30d", "preferred_hour"),
    *("is_overdue", "task_age_days"),
}
_DECISIONS: Final = 3
_FEATURES: Final = sorted(PLANS[LOOP.name].encoder.features, key=lambda feature: feature.name)
_NO_LOOP: Final = Failure(404, "There is no such loop.", "there is no loop 'tisp', there are tips")

LOOPS: Final[Mapping[str, Described]] = {
    "GET /loops": row(
        name="get_loops",
        away=BUSY,
        summary="who serves each loop, and what its rewards are",
        answers=LoopsAnswer([LoopState(**_SETTINGS)]),
    ),
    "GET /loops/{loop}": row(
        name="loop",
        away=BUSY,
        summary="a loop, and what its decisions bring that no feature reads, and lack",
        answers=LoopAnswer(
            **_SETTINGS,
            missing=LOOP.missing,
            unknown_features="keep",
            decisions=_DECISIONS,
            unknown_fields=[],
            other_unknown_fields=0,
            lacked_features=[
                LackedFeature(each.name, each.of, each.field, _DECISIONS) for each in _FEATURES if each.field in _LACKED
            ],
        ),
        errors=(_NO_LOOP,),
        place=LOOP.name,
    ),
}
# Comes right after the first decision, which is open then.
USERS: Final[Mapping[str, Described]] = {
    "GET /users/{user_id}": row(
        name="get_user",
        summary="what each policy has learned about a user, and the open decisions",
        answers=UserAnswer(
            USER,
            {
                _CHAMPION.id: PolicyOfUser(
                    pulls=1,
                    explore_count=0,
                    reward_count=0,
                    cumulative_reward=0.0,
                    last_updated=DECIDED,
                    theta=dict.fromkeys(_CHAMPION.labels, 0.0),
                    standard_error=dict.fromkeys(_CHAMPION.labels, 1.0),
                )
            },
            [OpenDecision(FIRST, LOOP.name, "rent", "open", DEADLINE)],
        ),
        errors=(NO_USER,),
        place=USER,
    ),
}
