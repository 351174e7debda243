"""Users: what is known of one."""

import time

from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from app.api.classic import user_in_path
from app.decisions.users import Learned, Users
from app.http.access import READER
from app.http.body import Answer
from app.messages.decision_ids import decision_id
from app.messages.loops import OpenDecision, PolicyOfUser, UserAnswer
from state.values.decision import Record

__all__ = ["user_routes"]


def user_routes(users: Users) -> list[HTTPRouteHandler]:
    """The routes of users that come after the first API's."""

    @get("/users/{user_id:str}", opt=READER)
    async def show_user(user_id: FromPath[str]) -> Answer:
        user = user_in_path(user_id)
        learned = await users.learned(user)
        waiting = await users.open(user)
        return Answer(
            UserAnswer(
                user,
                {each.policy.id: _policy(each) for each in learned},
                [_open(decision_id(local, user), made) for local, made in waiting],
            )
        )

    return [show_user]


def _policy(learned: Learned) -> PolicyOfUser:
    labels, meta = learned.policy.labels, learned.meta
    return PolicyOfUser(
        pulls=meta.pulls,
        explore_count=meta.explore_count,
        reward_count=meta.reward_count,
        cumulative_reward=meta.cumulative_reward,
        last_updated=_time(meta.last_updated) if meta.last_updated else None,
        theta=dict(zip(labels, learned.theta, strict=True)),
        standard_error=dict(zip(labels, learned.errors, strict=True)),
    )


def _open(whole: str, made: Record) -> OpenDecision:
    return OpenDecision(whole, made.loop, made.ids[made.chosen], made.status, _time(made.deadline // 1_000))


def _time(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
