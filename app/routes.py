"""The routes: thin handlers, made for each policy from one path table."""

import hashlib
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import msgspec
from litestar import Request, get, post
from litestar.handlers import HTTPRouteHandler

from app.bandit.features import Context
from app.decisions import Decisions, Statistics
from app.http import Answer, read_body
from app.schemas import (
    HistoryAnswer,
    HistoryEntry,
    HistoryFeatures,
    Ok,
    Reader,
    RewardRequest,
    ScoreAnswer,
    ScoreRequest,
    StatisticsAnswer,
    Unreadable,
)
from state.history import Entry

__all__ = ["POLICY_PATHS", "decision_routes"]

POLICY_PATHS: Final = {"": "linucb-v1", "/egreedy": "egreedy-v1", "/egreedy/v2": "egreedy-v2"}

AnyRequest = Request[Any, Any, Any]
_read_score: Final = Reader(ScoreRequest)
_read_reward: Final = Reader(RewardRequest)
_OK: Final = Ok()
_REPLAYED: Final = ((b"idempotent-replayed", b"true"),)
_IDEMPOTENCY_KEY: Final = re.compile(rb"[\x21-\x7e]{1,128}")
_canonical: Final = msgspec.json.Encoder(order="deterministic").encode


def decision_routes(decisions: Decisions, max_body_bytes: int) -> list[HTTPRouteHandler]:
    """Score, reward and statistics of every policy, history and reset."""

    def score(policy_id: str) -> Callable[[AnyRequest], Awaitable[Answer]]:
        async def handler(request: AnyRequest) -> Answer:
            asked = _read_score(await read_body(request, max_body_bytes))
            if not asked.candidates:
                raise Unreadable("No candidates")
            context = Context(asked.context.hour_of_day, asked.context.day_of_week, asked.profile_features)
            decision = await decisions.score(policy_id, asked.user_id, context, asked.candidates)
            return Answer(ScoreAnswer(decision.tip_id, decision.score, policy_id))

        return handler

    def reward(policy_id: str) -> Callable[[AnyRequest], Awaitable[Answer]]:
        async def handler(request: AnyRequest) -> Answer:
            told = _read_reward(await read_body(request, max_body_bytes))
            context = Context(told.features.hour_of_day, told.day_of_week, told.profile_features)
            key = _idempotency_key(request)
            once = (key, _fingerprint(told)) if key else None
            replayed = await decisions.reward(policy_id, told.user_id, context, told.features, told.reward, once)
            return Answer(_OK, _REPLAYED if replayed else ())

        return handler

    def statistics(policy_id: str, literal: str = "") -> Callable[..., Awaitable[Answer]]:
        async def of_user(user_id: str) -> Answer:
            user = _user(user_id)
            return Answer(_statistics(user, await decisions.statistics(policy_id, user)))

        async def of_literal() -> Answer:
            return await of_user(literal)

        return of_literal if literal else of_user

    async def history(user_id: str) -> Answer:
        user = _user(user_id)
        return Answer(HistoryAnswer(user, [_entry(entry) for entry in await decisions.history(user)]))

    async def reset(user_id: str) -> Answer:
        await decisions.reset(_user(user_id))
        return Answer(_OK)

    routes: list[HTTPRouteHandler] = [
        get("/features/{user_id:str}")(history),
        post("/reset/{user_id:str}", status_code=200)(reset),
    ]
    for path, policy_id in POLICY_PATHS.items():
        routes += [
            post(f"/score{path}", status_code=200)(score(policy_id)),
            post(f"/reward{path}", status_code=200)(reward(policy_id)),
            get(f"/stats{path}/{{user_id:str}}")(statistics(policy_id)),
        ]
        if path:
            # A user whose id is the last word of a longer path is a user all the same.
            shorter, _, word = path.rpartition("/")
            routes.append(get(f"/stats{path}")(statistics(POLICY_PATHS[shorter], word)))
    return routes


def _user(raw: str) -> str:
    """The user id in a path, of which the percent-encoding still stands. Raises Unreadable."""
    try:
        user_id = unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise Unreadable("the user id in the path is not UTF-8") from None
    if not 1 <= len(user_id) <= 256:
        raise Unreadable("the user id in the path must have 1 to 256 characters")
    return user_id


def _idempotency_key(request: AnyRequest) -> str | None:
    """The header Idempotency-Key. Raises Unreadable unless it is 1 to 128 visible ASCII characters, given once."""
    found = [value for name, value in request.scope["headers"] if name == b"idempotency-key"]
    if not found:
        return None
    if len(found) > 1 or not _IDEMPOTENCY_KEY.fullmatch(found[0]):
        raise Unreadable("the header Idempotency-Key must be 1 to 128 visible ASCII characters, given once")
    return found[0].decode()


def _fingerprint(told: RewardRequest) -> bytes:
    """What a reward says, whatever the order and spacing of its JSON, in 32 characters."""
    return hashlib.blake2b(_canonical(told), digest_size=16).hexdigest().encode()


def _time(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _statistics(user_id: str, found: Statistics) -> StatisticsAnswer:
    meta = found.meta
    answer = StatisticsAnswer(
        user_id,
        meta.pulls,
        meta.reward_count,
        meta.cumulative_reward,
        found.mean_reward,
        found.theta,
        _time(meta.last_updated) if meta.last_updated else None,
    )
    if not found.policy.randomized:
        return answer
    return msgspec.structs.replace(
        answer,
        policy=found.policy.id,
        exploration_rate=found.exploration_rate,
        feature_labels=found.policy.featurizer.labels,
    )


def _entry(entry: Entry) -> HistoryEntry:
    features = HistoryFeatures(entry.hour_of_day, entry.is_overdue, entry.task_age_days, entry.priority)
    answer = HistoryEntry(_time(entry.ts), features, entry.score, entry.tip_id)
    if entry.exploring is None or entry.day_of_week is None:
        return answer
    features = msgspec.structs.replace(features, day_of_week=entry.day_of_week, exploring=entry.exploring)
    return msgspec.structs.replace(answer, features=features, policy=entry.policy)
