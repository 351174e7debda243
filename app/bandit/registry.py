"""The policies of this service, one row each: id, what it sees, how it picks."""

from app.bandit.explore import EpsilonGreedy, UpperConfidence
from app.bandit.features import CLOCK, PROFILE, TASK, WEEKDAY
from app.bandit.policy import Policy

__all__ = ["policies"]


def policies(alpha: float, epsilon: float) -> dict[str, Policy]:
    """The policies by id, for LinUCB's `alpha` (>= 0) and epsilon-greedy's `epsilon` (0..1)."""
    rows = (
        Policy("linucb-v1", CLOCK + TASK, UpperConfidence(alpha)),
        Policy("egreedy-v1", CLOCK + TASK + WEEKDAY, EpsilonGreedy(epsilon)),
        Policy("egreedy-v2", CLOCK + TASK + WEEKDAY + PROFILE, EpsilonGreedy(epsilon)),
    )
    return {row.id: row for row in rows}
