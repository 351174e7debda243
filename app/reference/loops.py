"""The rows of loops, and of what they have made of the user of the decisions' conversation."""

from collections.abc import Mapping
from typing import Final

from app.messages.loops import LoopsAnswer, LoopState, OpenDecision, PolicyOfUser, UserAnswer
from app.reference.decisions import DEADLINE, DECIDED, FIRST, LOOP, PLANS, USER, row
from app.reference.described import BUSY, NO_USER, Described

__all__ = ["LOOPS", "USERS"]

_CHAMPION: Final = PLANS[LOOP.name].policies[0]

LOOPS: Final[Mapping[str, Described]] = {
    "GET /loops": row(
        name="get_loops",
        away=BUSY,
        summary="who serves each loop, and what its rewards are",
        answers=LoopsAnswer(
            [
                LoopState(
                    loop="tips",
                    champion=LOOP.champion,
                    shadows=list(LOOP.shadows),
                    window_seconds=LOOP.window,
                    reward_min=LOOP.low,
                    reward_max=LOOP.high,
                    default_reward=LOOP.default_reward,
                    late=LOOP.late,
                    aggregation=LOOP.aggregation,
                    open_max=LOOP.open_max,
                )
            ]
        ),
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
