"""The first API: score, reward and statistics of each policy, and history, reset and erasure of a user."""

import hashlib
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import msgspec
from litestar import Request, delete, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from msgspec.structs import asdict

from app.bandit.context import NOTHING, Context
from app.bandit.policy import Policy
from app.decisions.decide import Decider
from app.decisions.reward import Learner
from app.decisions.users import Statistics, Users
from app.http.access import ADMIN, CLIENT, READER
from app.http.body import Answer, read_body
from app.http.headers import REPLAYED, idempotency_key
from app.http.straight import STRAIGHT
from app.messages.basics import Ok
from app.messages.classic import (
    ErasedAnswer,
    HistoryAnswer,
    HistoryEntry,
    HistoryFeatures,
    RewardRequest,
    ScoreAnswer,
    ScoreRequest,
    StatisticsAnswer,
)
from app.messages.reading import Reader, Unreadable
from app.precedence import Precedence
from state.values.history import Entry

__all__ = ["classic_routes", "user_in_path"]


AnyRequest = Request[Any, Any, Any]
# A number too large for a float becomes infinite: in a profile it counts as absent, elsewhere it is refused.
_read_score: Final = Reader(ScoreRequest, untyped=float)
_read_reward: Final = Reader(RewardRequest, untyped=float)
_CALLED_MOST: Final = {**CLIENT, **STRAIGHT}
_OK: Final = Ok()
_canonical: Final = msgspec.json.Encoder(order="deterministic").encode


def classic_routes(
    policies: Iterable[Policy],
    decider: Decider,
    learner: Learner,
    users: Users,
    *,
    max_body_bytes: int,
    precedence: Precedence,
) -> list[HTTPRouteHandler]:
    """The routes, their paths made from the `classic` part of each policy."""
    routes: list[HTTPRouteHandler] = [
        get("/features/{user_id:str}", opt=READER)(_history(users)),
        post("/reset/{user_id:str}", status_code=200, opt=ADMIN)(_reset(users)),
        delete("/users/{user_id:str}", status_code=200, opt=ADMIN)(_erase(users)),
    ]
    ids = {row.classic.route: row.id for row in policies if row.classic is not None}
    for path, policy_id in ids.items():
        routes += [
            post(f"/score{path}", status_code=200, opt=_CALLED_MOST)(
                _score(decider, policy_id, max_body_bytes, precedence)
            ),
            post(f"/reward{path}", status_code=200, opt=_CALLED_MOST)(
                _reward(learner, policy_id, max_body_bytes, precedence)
            ),
            get(f"/stats{path}/{{user_id:str}}", opt=READER)(_statistics(users, policy_id)),
        ]
        if path:
            # /stats/egreedy is a path of its own to the router; here it means the user `egreedy`.
            shorter, _, user_id = path.rpartition("/")
            routes.append(get(f"/stats{path}", opt=READER)(_statistics_of(users, ids[shorter], user_id)))
    return routes


def _score(
    decider: Decider, policy_id: str, max_body_bytes: int, precedence: Precedence
) -> Callable[[AnyRequest], Awaitable[Answer]]:
    async def score(request: AnyRequest) -> Answer:
        body = await read_body(request, max_body_bytes)
        with precedence:
            asked = _read_score(body)
            if not asked.candidates:
                raise Unreadable("No candidates")
            context = Context(asdict(asked.context), asked.profile_features or NOTHING)
            decision = await decider.decide(policy_id, asked.user_id, context, asked.candidates)
            return Answer(ScoreAnswer(decision.candidate_id, decision.score, policy_id))

    return score


def _reward(
    learner: Learner, policy_id: str, max_body_bytes: int, precedence: Precedence
) -> Callable[[AnyRequest], Awaitable[Answer]]:
    async def reward(request: AnyRequest) -> Answer:
        body = await read_body(request, max_body_bytes)
        with precedence:
            told = _read_reward(body)
            features = asdict(told.features)
            moment = {"hour_of_day": features.pop("hour_of_day"), "day_of_week": told.day_of_week}
            context = Context(moment, told.profile_features or NOTHING)
            key = idempotency_key(request)
            once = (key, _fingerprint(told)) if key else None
            replayed = await learner.learn(
                policy_id, told.user_id, context=context, features=features, reward=told.reward, once=once
            )
            return Answer(_OK, REPLAYED if replayed else ())

    return reward


def _statistics(users: Users, policy_id: str) -> Callable[[str], Awaitable[Answer]]:
    async def statistics(user_id: FromPath[str]) -> Answer:
        user = user_in_path(user_id)
        return Answer(_statistics_answer(user, await users.statistics(policy_id, user)))

    return statistics


def _statistics_of(users: Users, policy_id: str, user_id: str) -> Callable[[], Awaitable[Answer]]:
    statistics = _statistics(users, policy_id)

    async def statistics_of() -> Answer:
        return await statistics(user_id)

    return statistics_of


def _history(users: Users) -> Callable[[str], Awaitable[Answer]]:
    async def history(user_id: FromPath[str]) -> Answer:
        user = user_in_path(user_id)
        return Answer(HistoryAnswer(user, [_entry(entry) for entry in await users.history(user)]))

    return history


def _reset(users: Users) -> Callable[[str], Awaitable[Answer]]:
    async def reset(user_id: FromPath[str]) -> Answer:
        await users.reset(user_in_path(user_id))
        return Answer(_OK)

    return reset


def _erase(users: Users) -> Callable[[str], Awaitable[Answer]]:
    async def erase(user_id: FromPath[str]) -> Answer:
        return Answer(ErasedAnswer(await users.erase(user_in_path(user_id))))

    return erase


def user_in_path(raw: str) -> str:
    """The user id in a path that is still percent-encoded. Raises Unreadable."""
    try:
        user_id = unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise Unreadable("the user id in the path is not UTF-8") from None
    if not 1 <= len(user_id) <= 256:
        raise Unreadable("the user id in the path must have 1 to 256 characters")
    return user_id


def _fingerprint(told: RewardRequest) -> bytes:
    """32 characters that two rewards share if they say the same, whatever the order and spacing of their JSON."""
    return hashlib.blake2b(_canonical(told), digest_size=16).hexdigest().encode()


def _time(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _statistics_answer(user_id: str, statistics: Statistics) -> StatisticsAnswer:
    meta = statistics.meta
    answer = StatisticsAnswer(
        user_id,
        meta.pulls,
        meta.reward_count,
        meta.cumulative_reward,
        statistics.mean_reward,
        statistics.theta,
        _time(meta.last_updated) if meta.last_updated else None,
    )
    classic = statistics.policy.classic
    if classic is None or not classic.tells_exploration:
        return answer
    return msgspec.structs.replace(
        answer,
        policy=statistics.policy.id,
        exploration_rate=statistics.exploration_rate,
        feature_labels=statistics.policy.labels,
    )


def _entry(entry: Entry) -> HistoryEntry:
    features = HistoryFeatures(entry.hour_of_day, entry.is_overdue, entry.task_age_days, entry.priority)
    answer = HistoryEntry(_time(entry.ts), features, entry.score, entry.tip_id)
    if entry.exploring is None or entry.day_of_week is None:
        return answer
    features = msgspec.structs.replace(features, day_of_week=entry.day_of_week, exploring=entry.exploring)
    return msgspec.structs.replace(answer, features=features, policy=entry.policy)
