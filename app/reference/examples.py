"""The rows of the OpenAPI document: what each route is for, with an example of what it reads and answers.

An example is the message itself, so its type says which schema the route has. From the first row to the last, the
examples are one conversation with a fresh service. Those of the policies are computed from the catalog.
"""

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec.structs import asdict

from app import __version__
from app.bandit.context import Context
from app.bandit.policy import ClassicPolicy
from app.messages.basics import ErrorAnswer, Ok
from app.messages.classic import (
    Candidate,
    CandidateFeatures,
    ErasedAnswer,
    HistoryAnswer,
    HistoryEntry,
    HistoryFeatures,
    RewardRequest,
    ScoreAnswer,
    ScoreContext,
    ScoreRequest,
    StatisticsAnswer,
)
from app.messages.health import HealthAnswer, LogHealth, LoopsHealth, NatsHealth, StoreHealth
from app.messages.tips import GenerateAnswer, GenerateContext, GeneratedCandidate, GenerateRequest, PromptList
from app.policies.catalog import policies
from app.reference.decisions import DECISIONS
from app.reference.described import BUSY, NO_USER, ODD, STORE_AWAY, TOO_LONG, UNREADABLE, Described, Failure
from app.reference.loops import LOOPS, USERS
from state import keys

__all__ = ["IDEMPOTENCY_KEY", "INTRODUCTION", "ROUTES", "THETA", "refusals"]

INTRODUCTION: Final = (
    "Contextual bandits as a service: send the candidates and the moment, get one of them; later send a reward.\n\n"
    "Every error is JSON with `detail`: 404 for an unknown path, 405 for another method, 408 for a request that does "
    "not arrive in time, and those listed with each route. Every answer has an `X-Request-ID`: the request's, or a new "
    "one.\n\n"
    "Unknown fields are ignored. For the number 3, 3.0 and the text `3` are accepted too, and for true the text "
    "`true`. Percent-encode a user id in a path, slashes included.\n\n"
    "If the service has API_KEYS, send one of them as a bearer token; it must have the role that the route names. "
    "Without API_KEYS the service is open to everyone.\n\n"
    "`GET /` leads to `/schema`. Health and reference answer HEAD too, without a body."
)

_NO_CANDIDATES: Final = Failure(422, UNREADABLE, "No candidates")
_NO_REWARD: Final = Failure(422, UNREADABLE, "Expected `float` <= 1.0 - at `$.reward`")
_NO_PROMPT: Final = Failure(422, UNREADABLE, "unknown prompt version 'v9', there are v1, v2")
_MODEL_FAILED: Final = Failure(
    502,
    "The language model answered with an error, or with nothing usable.",
    "the LLM proxy answered 500: out of tokens",
)
_MODEL_AWAY: Final = Failure(
    503, "The language model is not available, too slow or too busy: try again.", "the LLM proxy did not answer in time"
)

_ODD_HISTORY: Final = Failure(500, ODD, f"{keys.history('ann')}: entry 0: Expected `array`, got `object`")

_NO_METRICS: Final = Failure(
    401,
    "The service has a METRICS_KEY, and the request did not send it as a bearer token.",
    "METRICS_KEY is needed as a bearer token",
)
_NO_KEY: Final = Failure(
    401,
    "The service has API_KEYS, and the request sent none of them as a bearer token.",
    "an API key is needed as a bearer token",
)
_TOO_OFTEN: Final = Failure(
    429, "The key has sent too many requests in this second: try again.", "this key may send 1 requests per second"
)


def refusals(role: str) -> tuple[Failure, ...]:
    """The errors of every route that needs a key with this role."""
    return _NO_KEY, Failure(403, "The key has another role.", f"this needs a key with the role {role}"), _TOO_OFTEN


_FEATURES: Final = CandidateFeatures(hour_of_day=9, is_overdue=True, task_age_days=3.0, priority=4)
_SCORE: Final = ScoreRequest(
    "ann",
    [
        Candidate("rent", "Pay the rent", "todoist", "8037", _FEATURES),
        Candidate("walk", "Go for a walk", "todoist", features=CandidateFeatures(hour_of_day=9, task_age_days=1.0)),
    ],
    ScoreContext(hour_of_day=9, day_of_week=1),
    {"completion_rate_30d": 0.5, "preferred_hour": 9},
)
_REWARD: Final = RewardRequest(
    "ann", "rent", 1.0, _FEATURES, day_of_week=1, profile_features={"completion_rate_30d": 0.5, "preferred_hour": 9}
)
_TIME: Final = "2026-11-23T12:47:24Z"
IDEMPOTENCY_KEY: Final = "5f0c2c1e-rent"

# With the default alpha, and none that explores by chance: the conversation goes the same way each time.
_POLICIES: Final = tuple(policies(epsilon=0.0).values())
_CONTEXT: Final = Context(asdict(_SCORE.context), _SCORE.profile_features or {})

THETA: Final = (
    "One weight for each feature. "
    + "".join(
        f"`{policy.id}`: {', '.join(policy.labels)}, in this order; "
        for policy in _POLICIES
        if not policy.classic.tells_exploration
    )
    + "the other policies name theirs in `feature_labels`."
)


def _first_score(policy: ClassicPolicy) -> float:
    x = policy.see(_CONTEXT, [asdict(candidate.features) for candidate in _SCORE.candidates])
    return policy.decide(*policy.prior(), x, seed=0).score


def _first_theta(policy: ClassicPolicy) -> list[float]:
    [x] = policy.see(_CONTEXT, [asdict(_FEATURES)])
    learned = policy.learn(*policy.prior(), x, _REWARD.reward)
    theta: list[float] = policy.estimate(*learned).tolist()
    return theta


def _history(policy: ClassicPolicy) -> HistoryEntry:
    features = HistoryFeatures(hour_of_day=9, is_overdue=True, task_age_days=3.0, priority=4)
    entry = HistoryEntry(_TIME, features, _first_score(policy), "rent")
    if not policy.classic.tells_exploration:
        return entry
    features = msgspec.structs.replace(features, day_of_week=1, exploring=False)
    return msgspec.structs.replace(entry, features=features, policy=policy.id)


def _odd(policy: ClassicPolicy) -> Failure:
    return Failure(500, ODD, f"{keys.record('ann', policy.id)}: field meta is missing")


def _score(policy: ClassicPolicy) -> Described:
    role = policy.classic.role
    return Described(
        tag="decisions",
        summary=f"pick a candidate by `{policy.id}`" + (f", {role}" if role else ""),
        reads=_SCORE,
        answers=ScoreAnswer("rent", _first_score(policy), policy.id),
        errors=(TOO_LONG, _NO_CANDIDATES, _odd(policy), STORE_AWAY),
    )


def _reward(policy: ClassicPolicy) -> Described:
    return Described(
        tag="decisions",
        summary=f"tell `{policy.id}` the outcome of a tip",
        reads=_REWARD,
        answers=Ok(),
        errors=(TOO_LONG, _NO_REWARD, _odd(policy), STORE_AWAY),
        idempotent=True,
    )


def _statistics(policy: ClassicPolicy) -> Described:
    answers = StatisticsAnswer("ann", 1, 1, 1.0, 1.0, _first_theta(policy), _TIME)
    if policy.classic.tells_exploration:
        answers = msgspec.structs.replace(answers, policy=policy.id, exploration_rate=0.0, feature_labels=policy.labels)
    return Described(
        tag="decisions",
        summary=f"what `{policy.id}` has learned about a user",
        answers=answers,
        errors=(NO_USER, _odd(policy), STORE_AWAY),
    )


def _after(name: str, rows: Mapping[str, Described], more: Mapping[str, Described]) -> dict[str, Described]:
    """The `rows`, with `more` after the one of this name."""
    place = list(rows).index(name) + 1
    return dict([*list(rows.items())[:place], *more.items(), *list(rows.items())[place:]])


def _erased() -> list[str]:
    records = [keys.record("ann", policy.id) for policy in _POLICIES]
    markers = [keys.marker("ann", policy.id, IDEMPOTENCY_KEY) for policy in _POLICIES]
    return sorted([*records, *markers, keys.history("ann"), keys.index("ann")])


# Next to the other row of its path, since the document has the methods of a path together.
_ERASURE: Final = {
    "DELETE /users/{user_id}": Described(
        tag="decisions",
        name="erase_user",
        summary="remove all data of a user, and list the removed keys",
        answers=ErasedAnswer(_erased()),
        errors=(NO_USER, STORE_AWAY),
    ),
}

ROUTES: Final[Mapping[str, Described]] = {
    **{f"POST /score{policy.classic.route}": _score(policy) for policy in _POLICIES},
    **{f"POST /reward{policy.classic.route}": _reward(policy) for policy in _POLICIES},
    **{f"GET /stats{policy.classic.route}/{{user_id}}": _statistics(policy) for policy in _POLICIES},
    "GET /features/{user_id}": Described(
        tag="decisions",
        name="get_history",
        summary="the last decisions for a user, oldest first",
        answers=HistoryAnswer("ann", [_history(policy) for policy in _POLICIES]),
        errors=(NO_USER, _ODD_HISTORY, STORE_AWAY),
    ),
    **_after("POST /decisions", DECISIONS, {**USERS, **_ERASURE}),
    **LOOPS,
    "POST /reset/{user_id}": Described(
        tag="decisions",
        name="reset_user",
        summary="forget all models and decisions of a user",
        answers=Ok(),
        errors=(NO_USER, STORE_AWAY),
    ),
    "POST /generate": Described(
        tag="generation",
        summary="make tips with the language model",
        reads=GenerateRequest("ann", GenerateContext([{"content": "Pay the rent", "priority": 4}], 9, 1), n=1),
        answers=GenerateAnswer(
            [GeneratedCandidate("tip-0", "Pay the rent before lunch.", "It is overdue.")], "gpt-4o-mini", "v1", 180, 30
        ),
        errors=(TOO_LONG, _NO_PROMPT, _MODEL_FAILED, _MODEL_AWAY),
    ),
    "GET /prompts": Described(
        tag="generation",
        name="prompt_versions",
        summary="the prompt versions",
        answers=PromptList(["v1", "v2"], "v1"),
        errors=(BUSY,),
    ),
    "GET /health": Described(
        tag="operation",
        summary="the state of the service, its store and its consumers",
        answers=HealthAnswer(
            ok=True,
            version=__version__,
            draining=False,
            store=StoreHealth(ok=True, milliseconds=0.587),
            nats=NatsHealth(enabled=False, consumers={}),
            log=LogHealth(enabled=False),
            loops=LoopsHealth(ok=True),
        ),
        unwell=HealthAnswer(
            ok=False,
            version=__version__,
            draining=False,
            store=StoreHealth(ok=False, problem="Redis did not answer in time"),
            nats=NatsHealth(enabled=False, consumers={}),
            log=LogHealth(enabled=True),
            loops=LoopsHealth(ok=True),
            detail="Redis did not answer in time",
        ),
    ),
    "GET /health/live": Described(
        tag="operation", summary="whether the process is alive, for a liveness probe", answers=Ok()
    ),
    "GET /health/ready": Described(
        tag="operation",
        summary="whether it should get requests, for a readiness probe and load balancers",
        answers=Ok(),
        unwell=ErrorAnswer("stopping"),
    ),
    "GET /metrics": Described(
        tag="operation",
        summary="counters and times, for Prometheus",
        answers="text/plain",
        errors=(_NO_METRICS,),
    ),
    "GET /schema": Described(
        tag="reference",
        name="reference_page",
        summary="this reference, for a browser",
        answers="text/html",
        errors=(BUSY,),
    ),
    "GET /schema/openapi.json": Described(
        tag="reference",
        name="openapi_document",
        summary="this reference, as an OpenAPI document",
        answers="application/json",
        errors=(BUSY,),
    ),
}
