"""The rows of loops, and of what they have made of the user of the decisions' conversation."""

from collections.abc import Mapping
from typing import Any, Final

from app.messages.decisions import CanaryShare
from app.messages.loops import (
    CanaryWanted,
    LackedFeature,
    LoopAnswer,
    LoopChange,
    LoopFile,
    LoopRequest,
    LoopsAnswer,
    LoopState,
    NotYetAnswer,
    OpenDecision,
    PolicyOfUser,
    UserAnswer,
)
from app.reference.decisions import DEADLINE, DECIDED, FIRST, LOOP, PLANS, USER, row
from app.reference.described import BUSY, NO_USER, TOO_LONG, UNREADABLE, Described, Failure

__all__ = ["LOOPS", "USERS"]

_CHAMPION: Final = PLANS[LOOP.name].policies[0]

_SETTINGS: Final[Mapping[str, Any]] = {
    "loop": LOOP.name,
    "state": 0,
    "champion": LOOP.champion,
    "canary": None,
    "shadows": list(LOOP.shadows),
    "file": LoopFile(LOOP.champion, list(LOOP.shadows)),
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
_DETAILS: Final[Mapping[str, Any]] = {
    "missing": LOOP.missing,
    "evidence": None,
    "health": None,
    "unknown_features": "keep",
    "decisions": _DECISIONS,
    "unknown_fields": [],
    "other_unknown_fields": 0,
    "lacked_features": [
        LackedFeature(each.name, each.of, each.field, _DECISIONS) for each in _FEATURES if each.field in _LACKED
    ],
    "imitated": 0,
    "matched": 0,
}
_CHALLENGER: Final = LOOP.shadows[-1]
_BECAUSE: Final = "it did well in the simulation"
_CANARY: Final = CanaryShare(_CHALLENGER, 0.05)
_NO_EVIDENCE: Final = "there is no evidence of this loop: `python -m app judge` makes it from the log"
_IF_MATCH: Final = {
    "name": "If-Match",
    "in": "header",
    "required": True,
    "description": "The `state` that you saw, which is also the ETag of `GET /loops/{loop}`.",
    "schema": {"type": "string", "pattern": '^"?[0-9]{1,15}"?$'},
    "example": '"0"',
}
_UNSEEN: Final = (
    Failure(
        412,
        "Somebody has changed the loop since: nothing was changed.",
        'the state of the loop is 1: look at it again, and say If-Match: "1"',
    ),
    Failure(428, "The header If-Match is missing.", 'say the state that you saw: If-Match: "7"'),
)
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
        summary="a loop: its evidence, whether its rewards arrive, its last changes, what its decisions lack",
        answers=LoopAnswer(
            **_SETTINGS,
            **_DETAILS,
            changes=[],
        ),
        errors=(_NO_LOOP,),
        place=LOOP.name,
    ),
    "PUT /loops/{loop}": row(
        name="change_loop",
        summary="change who serves a loop: a canary, another champion, or back to the stage before",
        reads=LoopRequest(canary=CanaryWanted(_CHALLENGER, 0.05), because=_BECAUSE),
        answers=LoopAnswer(
            **{
                **_SETTINGS,
                "state": 1,
                "canary": _CANARY,
                "shadows": [each for each in LOOP.shadows if each != _CHALLENGER],
            },
            **_DETAILS,
            changes=[LoopChange(1, DECIDED, "", LOOP.champion, _CANARY, back=False, because=_BECAUSE, evidence=None)],
        ),
        errors=(
            _NO_LOOP,
            Failure(
                409,
                "The evidence does not allow it, and no reason is given.",
                _NO_EVIDENCE,
                NotYetAnswer(_NO_EVIDENCE, 0, None),
            ),
            *_UNSEEN,
            TOO_LONG,
            Failure(422, UNREADABLE, "takes one of canary, champion and back"),
        ),
        query=(_IF_MATCH,),
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
