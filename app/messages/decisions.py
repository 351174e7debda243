"""The messages of decisions with ids."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from app.messages.basics import Finite, Time, TipId, UserId

__all__ = [
    "CanaryShare",
    "CandidateShare",
    "DecisionAnswer",
    "DecisionCandidate",
    "DecisionId",
    "DecisionRequest",
    "DecisionState",
    "DecisionsAnswer",
    "DecisionsRequest",
    "ExplainedCandidate",
    "ExplanationAnswer",
    "Failed",
    "OutcomeAnswer",
    "OutcomeRequest",
    "Part",
    "Problem",
    "RefusedAnswer",
    "RetractionQuery",
    "RewardOf",
    "RewardsAnswer",
    "RewardsRequest",
]

FieldsSent = Annotated[dict[str, Any], Meta(max_length=256)]
LocalId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_~:@\-]{1,128}\Z")]
LoopName = Annotated[str, Meta(max_length=64)]
Part = Annotated[str, Meta(pattern=r"^[!-~]{1,128}\Z")]
DecisionId = Annotated[str, Meta(max_length=2_048)]


def _either(name: str) -> Meta:
    """What msgspec cannot say of messages without a tag: each item is an answer or an error."""
    refs = [{"$ref": f"#/components/schemas/{each}"} for each in (name, "Failed")]
    return Meta(extra_json_schema={"items": {"anyOf": refs}})


class DecisionCandidate(msgspec.Struct, frozen=True, gc=False):
    """What can be chosen, with what is known of it. One without features is scored by the constant alone."""

    id: TipId
    features: FieldsSent = {}


class DecisionRequest(msgspec.Struct, frozen=True):
    """Which of these candidates is the best for this user now? `exclude` are the ids of candidates that must not be
    chosen; with `defer` the decision counts from its activation on."""

    user_id: UserId
    candidates: Annotated[list[DecisionCandidate], Meta(max_length=1_000, min_length=1)]
    id: LocalId | None = None
    loop: LoopName = "tips"
    context: FieldsSent = {}
    user: FieldsSent = {}
    exclude: Annotated[list[TipId], Meta(max_length=1_000)] = []
    defer: bool = False


class CandidateShare(msgspec.Struct, frozen=True, gc=False):
    """A candidate, and the probability with which it was chosen."""

    id: str
    propensity: float


class DecisionAnswer(msgspec.Struct, frozen=True):
    """The chosen candidate: its place, its propensity and its score; all candidates' propensities; and until when a
    reward is in time."""

    decision_id: str
    candidate_id: str
    index: int
    propensity: float
    score: float
    candidates: list[CandidateShare]
    loop: str
    policy: str
    status: str
    deadline: Time


class ExplainedCandidate(msgspec.Struct, frozen=True):
    """A candidate that could be chosen: its columns `x`, what each contributed to the score (theta times x), the bonus
    for what was not known, its score and its propensity."""

    id: str
    x: list[float]
    contributions: list[float]
    bonus: float
    score: float
    propensity: float


class ExplanationAnswer(msgspec.Struct, frozen=True):
    """Why it was chosen: the columns with their weights, the candidates, and the best other one with the `margin` by
    which it was below the chosen one."""

    columns: list[str]
    theta: list[float]
    candidates: list[ExplainedCandidate]
    runner_up: str | None
    margin: float | None


class CanaryShare(msgspec.Struct, frozen=True):
    """The policy that serves a share of the decisions beside the champion."""

    policy: str
    share: float


class DecisionState(msgspec.Struct, frozen=True):
    """A decision as it stands: what was chosen with which propensities, by each policy, and its outcome; and until a
    reward is learned, why.

    `state` is that of the loop. If it had a canary, `arm` says which of the two chose, and the propensities are over
    this chance too; those `by_policy` are of each alone.
    """

    decision_id: str
    candidate_id: str
    index: int
    propensity: float
    score: float
    candidates: list[CandidateShare]
    loop: str
    policy: str
    status: str
    decided_at: Time
    deadline: Time
    by_policy: dict[str, list[float]]
    seed: str
    n: int
    reward: float | None
    rewarded_at: Time | None
    state: int
    arm: Literal["champion", "canary"]
    canary: CanaryShare | None = None
    explanation: ExplanationAnswer | None = None


class OutcomeRequest(msgspec.Struct, frozen=True):
    """The outcome of a decision; `part` names what it is a part of, in a loop that adds rewards up. With `if_n` it only
    counts if the last outcome's `n` was this."""

    reward: Finite
    part: Part | None = None
    if_n: Annotated[int, Meta(ge=0)] | None = None


class RetractionQuery(msgspec.Struct, frozen=True):
    """What is taken back: in a loop that adds rewards up, a part. With `if_n` only if the last `n` was this."""

    part: Part | None = None
    if_n: Annotated[int, Meta(ge=0)] | None = None


class OutcomeAnswer(msgspec.Struct, frozen=True):
    """What became of the outcome, and how the decision stands. `skipped` are policies that do not exist any more."""

    decision_id: str
    outcome: str
    status: str
    reward: float | None
    n: int
    rewarded_at: Time | None
    late: bool | UnsetType = UNSET
    skipped: list[str] | UnsetType = UNSET


class RefusedAnswer(msgspec.Struct, frozen=True):
    """The reason, in one sentence, and what is recorded."""

    detail: str
    status: str
    recorded: float | None


class DecisionsRequest(msgspec.Struct, frozen=True):
    """Decisions to be made, each on its own, in this order."""

    decisions: Annotated[list[DecisionRequest], Meta(min_length=1, max_length=100)]


class Problem(msgspec.Struct, frozen=True):
    """Why one of several requests failed, as it would have been answered alone."""

    status: int
    detail: str


class Failed(msgspec.Struct, frozen=True):
    """One of several requests that failed."""

    error: Problem


class DecisionsAnswer(msgspec.Struct, frozen=True):
    """For each decision its answer, or its error."""

    results: Annotated[list[Any], _either("DecisionAnswer")]


class RewardOf(msgspec.Struct, frozen=True):
    """The outcome of one decision."""

    decision_id: DecisionId
    reward: Finite
    part: Part | None = None


class RewardsRequest(msgspec.Struct, frozen=True):
    """Outcomes of decisions, each on its own, in this order."""

    rewards: Annotated[list[RewardOf], Meta(min_length=1, max_length=100)]


class RewardsAnswer(msgspec.Struct, frozen=True):
    """For each outcome its answer, or its error."""

    results: Annotated[list[Any], _either("OutcomeAnswer")]
