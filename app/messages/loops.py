"""The messages of loops, and of what they have made of a user."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from app.messages.basics import Time
from app.messages.decisions import CanaryShare
from app.messages.pipeline import LoopHealth

__all__ = [
    "CanaryWanted",
    "EstimateOf",
    "EvidenceOfPolicy",
    "GateBounds",
    "LackedFeature",
    "LoopAnswer",
    "LoopChange",
    "LoopEvidence",
    "LoopFile",
    "LoopRequest",
    "LoopState",
    "LoopsAnswer",
    "NotYetAnswer",
    "OpenDecision",
    "PolicyOfUser",
    "UnknownField",
    "UserAnswer",
]

Of = Literal["context", "user", "candidate"]


PolicyName = Annotated[str, Meta(min_length=1, max_length=64)]


class LoopFile(msgspec.Struct, frozen=True):
    """What the policy file of the replica that answers says: it decides until the first change, and names shadows."""

    champion: str
    shadows: list[str]


class LoopState(msgspec.Struct, frozen=True):
    """A loop: who serves it, who is scored beside, and what its rewards are. `state` is the number of changes so far,
    which the next one names; at 0 the file decides."""

    loop: str
    state: int
    champion: str
    canary: CanaryShare | None
    shadows: list[str]
    file: LoopFile
    window_seconds: int
    reward_min: float
    reward_max: float
    default_reward: float | None
    late: str
    aggregation: str
    open_max: int


class LoopsAnswer(msgspec.Struct, frozen=True):
    """All loops."""

    loops: list[LoopState]


class UnknownField(msgspec.Struct, frozen=True):
    """A field that came in some decisions, and that no feature of the loop reads."""

    of: Of
    field: str
    decisions: int


class LackedFeature(msgspec.Struct, frozen=True):
    """A feature that had no value in some decisions, or none that can be read: its default stood in. Its value is in
    `field`."""

    feature: str
    of: Of
    field: str
    decisions: int


class GateBounds(msgspec.Struct, frozen=True):
    """What a policy earns above the champion, at least and at most, after `n` decisions; `log_e_value` is the logarithm
    of the evidence that it is more. About so many more decisions are `needed` to show it; null: none would. `refused`
    says why there is no bound."""

    low: float
    high: float
    log_e_value: float
    n: int
    needed: int | None
    refused: str


class EstimateOf(msgspec.Struct, frozen=True):
    """A mean reward, with the ends of its 95 % interval."""

    estimate: float
    low: float | None
    high: float | None


class EvidenceOfPolicy(msgspec.Struct, frozen=True):
    """What the log says of a policy: what it would have earned, its gate if it is a challenger, and why it may not be
    judged."""

    n: int
    estimate: EstimateOf | None
    gate: GateBounds | None
    refused: list[str]
    warnings: list[str]


class LoopEvidence(msgspec.Struct, frozen=True):
    """The evidence that replicas have of a loop: when it was made of the log, beside which champion, and of what."""

    at: Time
    champion: str
    decisions: int
    matured: int
    rewarded: int
    policies: dict[str, EvidenceOfPolicy]


class LoopChange(msgspec.Struct, frozen=True):
    """A change of who serves: who made it by which API key, when, to what, and why. `evidence` names what was known, by
    a digest."""

    state: int
    at: Time
    who: str
    champion: str
    canary: CanaryShare | None
    back: bool
    because: str
    evidence: str | None


class LoopAnswer(LoopState, frozen=True):
    """A loop: the evidence about its policies, the health of the pipeline that led to it, its last changes, the newest
    first, and what its decisions brought that nothing reads, and lacked: most often first, counted by the process that
    answers, since it read its policies. `other_unknown_fields` counts fields beyond the first 64 names. An apprentice
    was shown `imitated` decisions, of which its champion would have made `matched` too."""

    missing: float | None
    evidence: LoopEvidence | None
    health: LoopHealth | None
    changes: list[LoopChange]
    unknown_features: Literal["keep", "refuse"]
    decisions: int
    unknown_fields: list[UnknownField]
    other_unknown_fields: int
    lacked_features: list[LackedFeature]
    imitated: int
    matched: int


class CanaryWanted(msgspec.Struct, frozen=True):
    """A policy of the loop, and the share of the decisions that it shall serve."""

    policy: PolicyName
    share: Annotated[float, Meta(gt=0, le=0.5)]


class LoopRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who shall serve: one of a `canary` beside the champion, another `champion`, or `back` to the stage before. What
    the evidence does not allow takes a reason, in `because`."""

    canary: CanaryWanted | None = None
    champion: PolicyName | None = None
    back: bool = False
    because: Annotated[str, Meta(max_length=1_000)] = ""


class NotYetAnswer(msgspec.Struct, frozen=True):
    """Why the evidence does not allow a change, in which state the loop is, and the evidence."""

    detail: str
    state: int
    evidence: LoopEvidence | None


class PolicyOfUser(msgspec.Struct, frozen=True):
    """What a policy did for a user and learned: its counters, and by the name of each column the estimate and its
    standard error, in units of the reward's deviation."""

    pulls: int
    explore_count: int
    reward_count: int
    cumulative_reward: float
    last_updated: Time | None
    theta: dict[str, float]
    standard_error: dict[str, float]


class OpenDecision(msgspec.Struct, frozen=True):
    """A decision without an outcome: what was chosen, and until when a reward is in time."""

    decision_id: str
    loop: str
    candidate_id: str
    status: str
    deadline: Time


class UserAnswer(msgspec.Struct, frozen=True):
    """What each policy learned about a user, and the decisions that have no outcome yet, oldest first."""

    user_id: str
    policies: dict[str, PolicyOfUser]
    open: list[OpenDecision]
