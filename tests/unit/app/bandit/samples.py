"""Random rewards and what is learned from them, for the tests of the numeric core."""

import msgspec
import numpy as np
from hypothesis import strategies as st

from app.bandit.ridge import Matrix, Vector, observe, prior

__all__ = ["SHAPES", "Task", "history", "learned"]

# A seed, a number of features, a number of rewards.
SHAPES = st.tuples(st.integers(0, 2**32), st.sampled_from([5, 7, 12]), st.integers(0, 60))


class Task(msgspec.Struct, frozen=True):
    is_overdue: bool = False
    task_age_days: float = 0.0
    priority: int = 1


def history(seed: int, d: int, n: int) -> tuple[Matrix, Vector]:
    """n seen rows of features and their rewards."""
    numbers = np.random.default_rng(seed)
    return numbers.uniform(-1, 1, (n, d)), numbers.choice([-1.0, -0.5, 0.0, 0.5, 1.0], n)


def learned(x: Matrix, rewards: Vector) -> tuple[Matrix, Vector]:
    a, b = prior(x.shape[1])
    for row, reward in zip(x, rewards, strict=True):
        a, b = observe(a, b, row, float(reward))
    return a, b
