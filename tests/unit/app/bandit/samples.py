"""Random rewards and what is learned from them, for the tests of the numeric core."""

import numpy as np
from hypothesis import strategies as st

from app.bandit.context import Context, Fields
from app.bandit.explore import Explorer, Normals, Odds
from app.bandit.ridge import Matrix, Vector, observe, prior
from app.bandit.sample import normals

__all__ = ["SHAPES", "draws", "history", "learned", "moment", "no_draws", "odds_of", "task"]

# A seed, a number of features, a number of rewards.
SHAPES = st.tuples(st.integers(0, 2**32), st.sampled_from([5, 7, 12]), st.integers(0, 60))


def task(*, is_overdue: bool = False, task_age_days: float = 0.0, priority: int = 1) -> Fields:
    return {"is_overdue": is_overdue, "task_age_days": task_age_days, "priority": priority}


def moment(hour: int, day: int, profile: Fields | None = None) -> Context:
    return Context({"hour_of_day": hour, "day_of_week": day}, profile or {})


def no_draws(seed: int, shape: tuple[int, int]) -> Matrix:
    """For explorers that draw nothing."""
    raise AssertionError(seed, shape)


def draws(seed: int) -> Normals:
    """The same draws for every decision."""
    return lambda _, shape: normals(seed, "p", "draws", shape)


def odds_of(explorer: Explorer, a: Matrix, b: Vector, x: Matrix, draws: Normals = no_draws) -> Odds:
    """The odds of one decision."""
    [found] = explorer.odds_of(explorer.solved(a[None], b[None]), x[None], [1], draws)
    return found


def history(seed: int, d: int, n: int) -> tuple[Matrix, Vector]:
    """n seen rows of features and their rewards."""
    numbers = np.random.default_rng(seed)
    return numbers.uniform(-1, 1, (n, d)), numbers.choice([-1.0, -0.5, 0.0, 0.5, 1.0], n)


def learned(x: Matrix, rewards: Vector) -> tuple[Matrix, Vector]:
    a, b = prior(x.shape[1])
    for row, reward in zip(x, rewards, strict=True):
        a, b = observe(a, b, row, float(reward))
    return a, b
