"""What each route is for, reads and answers, with an example of each: the rows of the OpenAPI document.

An example is the message itself, so its type says which schema the route has. Read from the first row to the last, the
examples are one conversation with a fresh service.
"""

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from app import __version__
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
from app.messages.health import HealthAnswer, NatsHealth, StoreHealth
from app.messages.tips import GenerateAnswer, GenerateContext, GeneratedCandidate, GenerateRequest, PromptList

__all__ = ["INTRODUCTION", "ROUTES", "Described", "Failure", "Tag", "refusals"]

Tag = Literal["decisions", "generation", "operation", "reference"]


class Failure(msgspec.Struct, frozen=True):
    """An error: its status, what that means, and the `detail` of one such answer."""

    status: int
    meaning: str
    detail: str


class Described(msgspec.Struct, frozen=True, kw_only=True):
    """One route. `reads` and `answers` are examples; an answer that is text is the media type of something else than a
    message. `errors` has one row per status; `unwell` is what answers 503 instead of an error. `name` is the
    operation's id where the path does not say what it does."""

    tag: Tag
    summary: str
    name: str = ""
    reads: msgspec.Struct | None = None
    answers: msgspec.Struct | str
    errors: tuple[Failure, ...] = ()
    unwell: msgspec.Struct | None = None
    idempotent: bool = False


INTRODUCTION: Final = (
    "Contextual bandits as a service: send the candidates and the moment, get one of them; later send a reward.\n\n"
    "Every error is JSON with `detail`: 404 for a path that is no route, 405 for another method, 408 for a request "
    "that does not arrive in time, and those listed with each route. Every answer to a request has an "
    "`X-Request-ID`: the request's, or a new one.\n\n"
    "Unknown fields are ignored; a number as text or 3.0 passes for 3, and `true` as text for true. A user id in a "
    "path is percent-encoded, a slash in it too.\n\n"
    "A service that has API_KEYS wants one of them as a bearer token, of the role that the route names. One that has "
    "none is open to everyone.\n\n"
    "`GET /` leads to `/schema`. Health and reference can be asked with HEAD too: the answer has no body then."
)

_UNREADABLE: Final = "The request is not what the route takes; nothing was changed."
_ODD: Final = "A key in Redis holds what this service never writes; it is left as it is."
_AGAIN: Final = (
    "Redis is away or too slow, or there are too many requests: try again. A write cut short may have happened all the "
    "same; a reward with an Idempotency-Key can be repeated until it is answered."
)

_TOO_LONG: Final = Failure(413, "The body is longer than MAX_BODY_BYTES.", "the body is longer than 2097152 bytes")
_NO_CANDIDATES: Final = Failure(422, _UNREADABLE, "No candidates")
_NO_REWARD: Final = Failure(422, _UNREADABLE, "Expected `float` <= 1.0 - at `$.reward`")
_NO_PROMPT: Final = Failure(422, _UNREADABLE, "unknown prompt version 'v9', there are v1, v2")
_NO_USER: Final = Failure(422, _UNREADABLE, "the user id in the path must have 1 to 256 characters")
_STORE_AWAY: Final = Failure(503, _AGAIN, "Redis cannot be reached")
_BUSY: Final = Failure(503, "There are too many requests: try again.", "too many requests at once")
_MODEL_FAILED: Final = Failure(
    502, "The language model answered, but nothing usable.", "the LLM proxy answered 500: out of tokens"
)
_MODEL_AWAY: Final = Failure(
    503, "The language model is away, too slow or busy: try again.", "the LLM proxy did not answer in time"
)

_NO_METRICS: Final = Failure(
    401,
    "The service has a METRICS_KEY, which did not come as a bearer token.",
    "METRICS_KEY is needed as a bearer token",
)
_NO_KEY: Final = Failure(
    401, "The service has API_KEYS, none of which came as a bearer token.", "an API key is needed as a bearer token"
)
_TOO_OFTEN: Final = Failure(
    429, "The key has used up this second: try again.", "this key may send 1 requests per second"
)


def refusals(role: str) -> tuple[Failure, ...]:
    """The errors of every route that wants a key of this role."""
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
_STATISTICS: Final = StatisticsAnswer("ann", 1, 1, 1.0, 1.0, [], _TIME)


def _history(score: float, policy: str | None = None) -> HistoryEntry:
    features = HistoryFeatures(hour_of_day=9, is_overdue=True, task_age_days=3.0, priority=4)
    if policy is None:
        return HistoryEntry(_TIME, features, score, "rent")
    features = msgspec.structs.replace(features, day_of_week=1, exploring=False)
    return HistoryEntry(_TIME, features, score, "rent", policy)


def _odd(policy: str) -> Failure:
    return Failure(500, _ODD, f"oo:{{ann}}:{policy}: field meta is missing")


def _score(policy: str, which: str, score: float) -> Described:
    text = f"pick a candidate by `{policy}`{which}"
    answers = ScoreAnswer("rent", score, policy)
    return Described(
        tag="decisions",
        summary=text,
        reads=_SCORE,
        answers=answers,
        errors=(_TOO_LONG, _NO_CANDIDATES, _odd(policy), _STORE_AWAY),
    )


def _reward(policy: str) -> Described:
    text = f"tell `{policy}` what became of a tip"
    errors = (_TOO_LONG, _NO_REWARD, _odd(policy), _STORE_AWAY)
    return Described(tag="decisions", summary=text, reads=_REWARD, answers=Ok(), errors=errors, idempotent=True)


def _statistics(policy: str, labels: tuple[str, ...], theta: list[float]) -> Described:
    answers = msgspec.structs.replace(_STATISTICS, theta=theta)
    if labels:
        answers = msgspec.structs.replace(answers, policy=policy, exploration_rate=0.0, feature_labels=labels)
    text = f"what `{policy}` has learned about a user"
    return Described(tag="decisions", summary=text, answers=answers, errors=(_NO_USER, _odd(policy), _STORE_AWAY))


_WEEK: Final = ("hour_sin", "hour_cos", "is_overdue", "task_age", "priority", "dow_sin", "dow_cos")
_PROFILE: Final = (
    "completion_rate_30d",
    "dismiss_rate_30d",
    "mean_dwell_norm",
    "preferred_hour_alignment",
    "tip_volume_norm",
)

ROUTES: Final[Mapping[str, Described]] = {
    "POST /score": _score("linucb-v1", "", 1.7349351572897471),
    "POST /score/egreedy": _score("egreedy-v1", ", the active policy", 0.0),
    "POST /score/egreedy/v2": _score("egreedy-v2", ", the shadow policy", 0.0),
    "POST /reward": _reward("linucb-v1"),
    "POST /reward/egreedy": _reward("egreedy-v1"),
    "POST /reward/egreedy/v2": _reward("egreedy-v2"),
    "GET /stats/{user_id}": _statistics(
        "linucb-v1",
        (),
        [0.1763358556574932, -0.17633585565749307, 0.24937655860349128, 0.024937655860349132, 0.24937655860349128],
    ),
    "GET /stats/egreedy/{user_id}": _statistics(
        "egreedy-v1",
        _WEEK,
        [
            0.14113907808114728,
            -0.14113907808114717,
            0.19960079840319364,
            0.01996007984031936,
            0.1996007984031936,
            0.15605418811737115,
            0.12444906224725225,
        ],
    ),
    "GET /stats/egreedy/v2/{user_id}": _statistics(
        "egreedy-v2",
        _WEEK + _PROFILE,
        [
            0.11295635482213219,
            -0.11295635482213223,
            0.1597444089456869,
            0.015974440894568693,
            0.15974440894568692,
            0.12489320806198553,
            0.09959900985958683,
            0.07987220447284345,
            0.0,
            0.0,
            0.1597444089456869,
            0.0,
        ],
    ),
    "GET /features/{user_id}": Described(
        tag="decisions",
        name="history",
        summary="the last decisions for a user, oldest first",
        answers=HistoryAnswer(
            "ann", [_history(1.7349351572897471), _history(0.0, "egreedy-v1"), _history(0.0, "egreedy-v2")]
        ),
        errors=(_NO_USER, Failure(500, _ODD, "oo:{ann}:history: entry 0: Expected `array`, got `object`"), _STORE_AWAY),
    ),
    "DELETE /users/{user_id}": Described(
        tag="decisions",
        name="erase_user",
        summary="remove everything there is of a user, and say what it was",
        answers=ErasedAnswer(
            [
                "oo:{ann}:egreedy-v1",
                "oo:{ann}:egreedy-v1:once:5f0c2c1e-rent",
                "oo:{ann}:egreedy-v2",
                "oo:{ann}:egreedy-v2:once:5f0c2c1e-rent",
                "oo:{ann}:history",
                "oo:{ann}:linucb-v1",
                "oo:{ann}:linucb-v1:once:5f0c2c1e-rent",
                "oo:{ann}:once",
            ]
        ),
        errors=(_NO_USER, _STORE_AWAY),
    ),
    "POST /reset/{user_id}": Described(
        tag="decisions",
        name="reset_user",
        summary="forget all models and decisions of a user",
        answers=Ok(),
        errors=(_NO_USER, _STORE_AWAY),
    ),
    "POST /generate": Described(
        tag="generation",
        summary="make tips with the language model",
        reads=GenerateRequest("ann", GenerateContext([{"content": "Pay the rent", "priority": 4}], 9, 1), n=1),
        answers=GenerateAnswer(
            [GeneratedCandidate("tip-0", "Pay the rent before lunch.", "It is overdue.")], "gpt-4o-mini", "v1", 180, 30
        ),
        errors=(_TOO_LONG, _NO_PROMPT, _MODEL_FAILED, _MODEL_AWAY),
    ),
    "GET /prompts": Described(
        tag="generation",
        name="prompt_versions",
        summary="the prompt versions there are",
        answers=PromptList(["v1", "v2"], "v1"),
        errors=(_BUSY,),
    ),
    "GET /health": Described(
        tag="operation",
        summary="how the service, its store and its consumers are",
        answers=HealthAnswer(
            ok=True,
            version=__version__,
            draining=False,
            store=StoreHealth(ok=True, milliseconds=0.587),
            nats=NatsHealth(enabled=False, consumers={}),
        ),
        unwell=HealthAnswer(
            ok=False,
            version=__version__,
            draining=False,
            store=StoreHealth(ok=False, problem="Redis did not answer in time"),
            nats=NatsHealth(enabled=False, consumers={}),
            detail="Redis did not answer in time",
        ),
    ),
    "GET /health/live": Described(tag="operation", summary="is the process alive? For a liveness probe", answers=Ok()),
    "GET /health/ready": Described(
        tag="operation",
        summary="should it get requests? For a readiness probe and load balancers",
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
        errors=(_BUSY,),
    ),
    "GET /schema/openapi.json": Described(
        tag="reference",
        name="openapi_document",
        summary="this reference, as an OpenAPI document",
        answers="application/json",
        errors=(_BUSY,),
    ),
}
