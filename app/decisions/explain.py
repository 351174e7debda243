"""Explain a decision from its record: what each candidate's columns were, and what they contributed to its score."""

from collections.abc import Mapping

import msgspec
import numpy as np

from app.bandit.columns import Columns
from app.bandit.policy import Policy
from app.bandit.together import scores_of
from state.values.decision import Record

__all__ = ["Explanation", "Part", "explain"]


class Part(msgspec.Struct, frozen=True):
    """A candidate: its columns, what each contributed (theta times x), the bonus for what was not known, the score.

    All are by the policy that decided; the propensity is over all chance, a canary's too.
    """

    id: str
    x: list[float]
    contributions: list[float]
    bonus: float
    score: float
    propensity: float


class Explanation(msgspec.Struct, frozen=True):
    """The columns with their weights theta, the candidates that could be chosen, and the other one with the best score.

    Its `margin` is by how much it was below the chosen one; negative: above.
    """

    columns: list[str]
    theta: list[float]
    candidates: list[Part]
    runner_up: str | None
    margin: float | None


def explain(made: Record, policies: Mapping[str, Policy]) -> Explanation | None:
    """Why the candidate was chosen; None after a reward was learned. The scores are those of the decision, bit by bit.

    Whether equal candidates shared one's probability is known only for a policy that still exists.
    """
    kept = made.evidence
    if kept is None:
        return None
    base = np.frombuffer(kept.base).reshape(len(kept.at), len(made.labels))
    theta = np.frombuffer(kept.theta)
    bonus = np.frombuffer(kept.bonus) if kept.bonus else None
    x = Columns(kept.labels, made.labels).of(base)
    policy = policies.get(made.policy)
    scores = scores_of(x, theta, bonus, distinct=policy is None or policy.classic is None)
    parts = [
        Part(
            id=made.ids[place],
            x=x[row].tolist(),
            contributions=(x[row] * theta).tolist(),
            bonus=0.0 if bonus is None else float(bonus[row]),
            score=float(scores[row]),
            propensity=made.propensities[place],
        )
        for row, place in enumerate(kept.at)
    ]
    others = [part for part in parts if part.id != made.ids[made.chosen]]
    best = max(others, key=lambda part: part.score, default=None)
    return Explanation(
        columns=kept.labels,
        theta=theta.tolist(),
        candidates=parts,
        runner_up=None if best is None else best.id,
        margin=None if best is None else made.score - best.score,
    )
