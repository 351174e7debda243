"""The rows of decisions with ids and of loops: one conversation about a user of its own."""

from collections.abc import Mapping
from typing import Any, Final

from app.bandit.context import Context
from app.messages.decision_ids import decision_id
from app.messages.decisions import (
    CandidateShare,
    DecisionAnswer,
    DecisionCandidate,
    DecisionRequest,
    DecisionsAnswer,
    DecisionsRequest,
    DecisionState,
    ExplainedCandidate,
    ExplanationAnswer,
    OutcomeAnswer,
    OutcomeRequest,
    RefusedAnswer,
    RewardOf,
    RewardsAnswer,
    RewardsRequest,
)
from app.policies.catalog import catalog
from app.policies.plan import Plans
from app.reference.described import BUSY, STORE_AWAY, TOO_LONG, UNREADABLE, Described, Failure

__all__ = ["DEADLINE", "DECIDED", "DECISIONS", "FIRST", "LOOP", "PLANS", "USER", "row"]

USER: Final = "bea"
_SENT: Final = [
    DecisionCandidate("rent", {"is_overdue": True, "task_age_days": 3, "priority": 4}),
    DecisionCandidate("walk", {"priority": 1}),
]
_ASKED: Final = DecisionRequest(
    USER, _SENT, id="mail-1", context={"hour_of_day": 9, "day_of_week": 0}, user={"tip_volume_30d": 12}
)
FIRST, _SECOND, _THIRD = (decision_id(f"mail-{number}", USER) for number in (1, 2, 3))
DECIDED, DEADLINE = "2026-11-28T09:00:00Z", "2026-11-29T09:00:00Z"
_REWARDED: Final = "2026-11-28T09:05:11Z"
_CATALOG: Final = catalog()
PLANS: Final = Plans(lambda: _CATALOG)
LOOP: Final = PLANS["tips"].loop

_NO_DECISION: Final = Failure(404, "There is no such decision, or not of this user.", "there is no such decision")
_OLD: Final = Failure(
    410, "Nothing is kept of the decision any more.", "the decision is too old: nothing is kept of it any more"
)
_NO_CANDIDATES: Final = Failure(422, UNREADABLE, "Expected `array` of length >= 1 - at `$.candidates`")
_NO_NUMBER: Final = Failure(422, UNREADABLE, "Expected `float`, got `str` - at `$.reward`")
_NO_COUNT: Final = Failure(422, UNREADABLE, "Expected `int | null`, got `str` - at `$.if_n`")
_NO_LIST: Final = Failure(422, UNREADABLE, "Expected `array`, got `str` - at `$.{name}`")
_PART: Final = {
    "name": "part",
    "in": "query",
    "description": "The part to take back, in a loop that adds rewards up.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,128}$"},
}
_IF_N: Final = {
    "name": "if_n",
    "in": "query",
    "description": "Only if the last outcome's `n` was this.",
    "schema": {"type": "integer", "minimum": 0},
}


def _propensities() -> dict[str, list[float]]:
    """What each policy gives the candidates for a new user."""
    plan = PLANS["tips"]
    base, _ = plan.encoder.encode(Context(_ASKED.context, _ASKED.user), [each.features for each in _SENT])
    return {
        policy.id: policy.odds(*policy.prior(), columns.of(base), 0).propensities
        for policy, columns in zip(plan.policies, plan.columns, strict=True)
    }


_BY_POLICY: Final = _propensities()
_SHARES: Final = _BY_POLICY[LOOP.champion]


def _answer(whole: str, status: str) -> DecisionAnswer:
    return DecisionAnswer(
        decision_id=whole,
        candidate_id="rent",
        index=0,
        propensity=_SHARES[0],
        score=0.0,
        candidates=[CandidateShare(each.id, share) for each, share in zip(_SENT, _SHARES, strict=True)],
        loop="tips",
        policy=LOOP.champion,
        status=status,
        deadline=DEADLINE,
    )


def _state() -> DecisionState:
    answer = _answer(FIRST, "open")
    return DecisionState(
        decision_id=answer.decision_id,
        candidate_id=answer.candidate_id,
        index=answer.index,
        propensity=answer.propensity,
        score=answer.score,
        candidates=answer.candidates,
        loop=answer.loop,
        policy=answer.policy,
        status=answer.status,
        decided_at=DECIDED,
        deadline=answer.deadline,
        by_policy=_BY_POLICY,
        seed="3957124718364510937",
        n=0,
        reward=None,
        rewarded_at=None,
        state=0,
        arm="champion",
        explanation=_explanation(),
    )


def _explanation() -> ExplanationAnswer:
    """The contributions for a new user: none, because no policy has learned anything yet."""
    plan = PLANS["tips"]
    base, _ = plan.encoder.encode(Context(_ASKED.context, _ASKED.user), [each.features for each in _SENT])
    champion = plan.policies[0]
    zeros = [0.0] * champion.d
    parts = [
        ExplainedCandidate(each.id, x.tolist(), zeros, 0.0, 0.0, share)
        for each, x, share in zip(_SENT, plan.columns[0].of(base), _SHARES, strict=True)
    ]
    return ExplanationAnswer(list(champion.labels), zeros, parts, "walk", 0.0)


def _outcome(whole: str, outcome: str, status: str, reward: float | None, n: int) -> OutcomeAnswer:
    return OutcomeAnswer(whole, outcome, status, reward, n, _REWARDED if n else None)


def _refused(problem: str, status: str, recorded: float | None) -> Failure:
    meaning = "It contradicts what is recorded; nothing was changed."
    return Failure(409, meaning, problem, RefusedAnswer(problem, status, recorded))


def row(*, away: Failure = STORE_AWAY, **given: Any) -> Described:
    """A row of decisions, which may also fail because the store is away."""
    errors = (*given.pop("errors", ()), away)
    return Described(tag="decisions", errors=errors, **given)


_SEVERAL: Final = DecisionsRequest(
    [
        DecisionRequest(USER, _SENT, id=f"mail-{number}", context=_ASKED.context, user=_ASKED.user, defer=True)
        for number in (2, 3)
    ]
)

DECISIONS: Final[Mapping[str, Described]] = {
    "POST /decisions": row(
        name="decide",
        summary="choose a candidate, and keep the decision under an id",
        reads=_ASKED,
        answers=_answer(FIRST, "open"),
        errors=(TOO_LONG, _NO_CANDIDATES),
        idempotent=True,
    ),
    "GET /decisions/{decision_id}": row(
        name="get_decision",
        summary="a decision as it stands",
        answers=_state(),
        errors=(_NO_DECISION, _OLD),
        place=FIRST,
    ),
    "POST /decisions/{decision_id}/reward": row(
        name="reward_decision",
        summary="tell the outcome of a decision",
        reads=OutcomeRequest(0.5),
        answers=_outcome(FIRST, "applied", "rewarded", 0.5, 1),
        errors=(
            _NO_DECISION,
            _refused("another reward was told before; PUT corrects it", "rewarded", 1.0),
            _OLD,
            TOO_LONG,
            _NO_NUMBER,
        ),
        place=FIRST,
    ),
    "PUT /decisions/{decision_id}/reward": row(
        name="correct_reward",
        summary="tell another outcome in place of the one before",
        reads=OutcomeRequest(1.0),
        answers=_outcome(FIRST, "corrected", "rewarded", 1.0, 2),
        errors=(_NO_DECISION, _refused("there is no reward to correct", "open", None), _OLD, TOO_LONG, _NO_NUMBER),
        place=FIRST,
    ),
    "DELETE /decisions/{decision_id}/reward": row(
        name="retract_reward",
        summary="take the outcome of a decision back",
        answers=_outcome(FIRST, "retracted", "retracted", None, 3),
        errors=(_NO_DECISION, _refused("there is no reward to take back", "open", None), _OLD, _NO_COUNT),
        place=FIRST,
        query=(_PART, _IF_N),
    ),
    "POST /decisions/batch": row(
        name="decide_all",
        summary="make up to 100 decisions, each on its own, in their order",
        reads=_SEVERAL,
        answers=DecisionsAnswer([_answer(_SECOND, "deferred"), _answer(_THIRD, "deferred")]),
        errors=(TOO_LONG, Failure(422, UNREADABLE, _NO_LIST.detail.format(name="decisions"))),
        away=BUSY,
    ),
    "POST /decisions/{decision_id}/activate": row(
        name="activate_decision",
        summary="say that a deferred decision was shown",
        answers=_outcome(_SECOND, "activated", "open", None, 0),
        errors=(_NO_DECISION, _refused("the decision was cancelled", "cancelled", None), _OLD),
        place=_SECOND,
    ),
    "POST /decisions/{decision_id}/cancel": row(
        name="cancel_decision",
        summary="say that a decision was never shown, so that it teaches nothing",
        answers=OutcomeAnswer(_THIRD, "cancelled", "cancelled", None, 1, None),
        errors=(_NO_DECISION, _refused("the decision has an outcome already", "rewarded", 1.0), _OLD),
        place=_THIRD,
    ),
    "POST /rewards/batch": row(
        name="reward_all",
        summary="tell up to 100 outcomes, each on its own, in their order",
        reads=RewardsRequest([RewardOf(_SECOND, 1.0)]),
        answers=RewardsAnswer([_outcome(_SECOND, "applied", "rewarded", 1.0, 1)]),
        errors=(TOO_LONG, Failure(422, UNREADABLE, _NO_LIST.detail.format(name="rewards"))),
        away=BUSY,
    ),
}
