"""Decisions with ids: made, rewarded, corrected, and shown."""

import hashlib
import re
import time
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any, Final

from litestar import Request, delete, get, post, put
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from msgspec import UNSET, convert
from msgspec.structs import asdict

from app.bandit.context import Context
from app.decisions.asked import Asked
from app.decisions.explain import Explanation
from app.decisions.make import Made, Maker
from app.decisions.outcome import Outcome, Outcomes
from app.decisions.told import Told
from app.http.access import CLIENT, READER
from app.http.body import Answer, read_body
from app.http.errors import status_of
from app.http.headers import REPLAYED, idempotency_key
from app.http.straight import STRAIGHT
from app.messages.decision_ids import LOCAL
from app.messages.decisions import (
    CanaryShare,
    CandidateShare,
    DecisionAnswer,
    DecisionRequest,
    DecisionsAnswer,
    DecisionsRequest,
    DecisionState,
    ExplanationAnswer,
    Failed,
    OutcomeAnswer,
    OutcomeRequest,
    Problem,
    RetractionQuery,
    RewardOf,
    RewardsAnswer,
    RewardsRequest,
)
from app.messages.reading import Reader, read_query
from app.precedence import Precedence
from state.values.decision import Record

__all__ = ["asked_of", "decision_routes"]

AnyRequest = Request[Any, Any, Any]
_read_decision: Final = Reader(DecisionRequest, untyped=float)
_read_decisions: Final = Reader(DecisionsRequest, untyped=float)
_read_outcome: Final = Reader(OutcomeRequest)
_read_rewards: Final = Reader(RewardsRequest)
_local: Final = re.compile(LOCAL).fullmatch
# Moments that are remembered as text: decisions of one second have one deadline.
_MOMENTS: Final = 64
_Change = Callable[[str, Told], Awaitable[Outcome]]


def decision_routes(
    maker: Maker, outcomes: Outcomes, *, max_body_bytes: int, precedence: Precedence
) -> list[HTTPRouteHandler]:
    """The routes of decisions."""

    @post("/decisions", status_code=200, opt={**CLIENT, **STRAIGHT})
    async def decide(request: AnyRequest) -> Answer:
        body = await read_body(request, max_body_bytes)
        with precedence:
            made = await maker.make(asked_of(_read_decision(body), idempotency_key(request)))
            return Answer(_decision(made), REPLAYED if made.repeated else ())

    @post("/decisions/batch", status_code=200, opt={**CLIENT, **STRAIGHT})
    async def decide_all(request: AnyRequest) -> Answer:
        body = await read_body(request, max_body_bytes)

        async def one(each: DecisionRequest) -> DecisionAnswer | Failed:
            try:
                return _decision(await maker.make(asked_of(each)))
            except Exception as error:  # noqa: BLE001  # `_failed` raises unexpected errors
                return _failed(error)

        return Answer(DecisionsAnswer(await precedence.in_slices(one, _read_decisions(body).decisions)))

    @post("/rewards/batch", status_code=200, opt={**CLIENT, **STRAIGHT})
    async def reward_all(request: AnyRequest) -> Answer:
        body = await read_body(request, max_body_bytes)

        async def one(each: RewardOf) -> OutcomeAnswer | Failed:
            try:
                return _outcome(await outcomes.reward(each.decision_id, Told(reward=each.reward, part=each.part)))
            except Exception as error:  # noqa: BLE001  # likewise
                return _failed(error)

        return Answer(RewardsAnswer(await precedence.in_slices(one, _read_rewards(body).rewards)))

    @get("/decisions/{decision_id:str}", opt=READER)
    async def show(decision_id: FromPath[str]) -> Answer:
        return Answer(_state(decision_id, *await outcomes.read(decision_id)))

    return [decide, decide_all, reward_all, show, *_outcome_routes(outcomes, max_body_bytes, precedence)]


def _outcome_routes(outcomes: Outcomes, max_body_bytes: int, precedence: Precedence) -> list[HTTPRouteHandler]:
    def telling(change: _Change) -> Callable[[AnyRequest, str], Awaitable[Answer]]:
        async def tell(request: AnyRequest, decision_id: FromPath[str]) -> Answer:
            body = await read_body(request, max_body_bytes)
            with precedence:
                told = _read_outcome(body)
                done = await change(decision_id, Told(reward=told.reward, part=told.part, if_n=told.if_n))
                return Answer(_outcome(done), REPLAYED if done.what == "duplicate" else ())

        return tell

    path, opt = "/decisions/{decision_id:str}/reward", {**CLIENT, **STRAIGHT}
    reward = post(path, status_code=200, opt=opt)(telling(outcomes.reward))
    correct = put(path, status_code=200, opt=opt)(telling(outcomes.correct))

    @delete("/decisions/{decision_id:str}/reward", status_code=200, opt=CLIENT)
    async def retract(request: AnyRequest, decision_id: FromPath[str]) -> Answer:
        told = read_query(RetractionQuery, request.query_params.multi_items())
        return Answer(_outcome(await outcomes.retract(decision_id, Told(part=told.part, if_n=told.if_n))))

    @post("/decisions/{decision_id:str}/activate", status_code=200, opt=CLIENT)
    async def activate(decision_id: FromPath[str]) -> Answer:
        return Answer(_outcome(await outcomes.activate(decision_id)))

    @post("/decisions/{decision_id:str}/cancel", status_code=200, opt=CLIENT)
    async def cancel(decision_id: FromPath[str]) -> Answer:
        return Answer(_outcome(await outcomes.cancel(decision_id)))

    return [reward, correct, retract, activate, cancel]


def _failed(error: Exception) -> Failed:
    """The answer to one of several requests, which ended in `error`. Raises the error if it is a defect."""
    status = status_of(error)
    if status is None:
        raise error
    return Failed(Problem(status, str(error)))


def asked_of(sent: DecisionRequest, key: str | None = None) -> Asked:
    """The decision that a message wants; without an id the idempotency `key` stands in."""
    local = sent.id
    if local is None and key is not None:
        # A key may have characters that an id cannot have.
        local = key if _local(key) else f"key:{hashlib.blake2b(key.encode(), digest_size=16).hexdigest()}"
    return Asked(
        user_id=sent.user_id,
        loop=sent.loop,
        context=Context(sent.context, sent.user),
        candidates=sent.candidates,
        excluded=sent.exclude,
        deferred=sent.defer,
        local=local,
    )


@lru_cache(_MOMENTS)
def _second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))


def _time(ms: int) -> str:
    return _second(ms // 1_000)


def _decision(made: Made) -> DecisionAnswer:
    kept = made.record
    return DecisionAnswer(
        decision_id=made.id,
        candidate_id=kept.ids[kept.chosen],
        index=kept.chosen,
        propensity=kept.propensities[kept.chosen],
        score=kept.score,
        candidates=list(map(CandidateShare, kept.ids, kept.propensities)),  # of one length in each record
        loop=kept.loop,
        policy=kept.policy,
        status=kept.status,
        deadline=_time(kept.deadline),
    )


def _state(whole: str, kept: Record, explained: Explanation | None) -> DecisionState:
    return DecisionState(
        **asdict(_decision(Made(whole, kept, repeated=False))),
        decided_at=_time(kept.decided),
        by_policy={each.policy: each.propensities for each in kept.by_policy if each.propensities},
        seed=str(kept.seed),
        n=kept.n,
        reward=kept.reward,
        rewarded_at=None if kept.rewarded is None else _time(kept.rewarded),
        state=kept.state,
        arm="canary" if kept.by_canary else "champion",
        canary=convert(kept.canary, CanaryShare | None, from_attributes=True),
        explanation=convert(explained, ExplanationAnswer | None, from_attributes=True),
    )


def _outcome(done: Outcome) -> OutcomeAnswer:
    kept = done.record
    return OutcomeAnswer(
        decision_id=done.id,
        outcome=done.what,
        status=kept.status,
        reward=kept.reward if kept.held is None else kept.held,
        n=kept.n,
        rewarded_at=None if kept.rewarded is None else _time(kept.rewarded),
        late=kept.late or UNSET,
        skipped=done.skipped or UNSET,
    )
