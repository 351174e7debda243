"""A policy: the features it sees, how it learns from rewards, and how it explores."""

import math
from collections.abc import Sequence

import msgspec

from app.bandit.context import Context, Task
from app.bandit.explore import Explorer
from app.bandit.features import Features
from app.bandit.ridge import Matrix, Singular, Vector, observe, prior, theta
from app.bandit.sample import sample, uniform

__all__ = ["Choice", "Classic", "Policy"]


class Choice(msgspec.Struct, frozen=True):
    """The chosen candidate, its score, the propensities of all, and whether exploration chose it."""

    index: int
    score: float
    propensities: list[float]
    explored: bool

    @property
    def propensity(self) -> float:
        """The probability with which the chosen candidate was chosen."""
        return self.propensities[self.index]


class Classic(msgspec.Struct, frozen=True):
    """The names of a policy in the API and the files of the first system.

    `route` is the end of its paths below /score, /reward and /stats, `suffix` that of its file names. With
    `tells_exploration` its statistics and history have fields about exploration. `role` is its use there.
    """

    route: str
    suffix: str
    tells_exploration: bool
    role: str = ""


class Policy(msgspec.Struct, frozen=True):
    """One row of the catalog; its models are the A (d x d) and b (d) of each user."""

    id: str
    features: Features
    explorer: Explorer
    classic: Classic

    @property
    def d(self) -> int:
        return self.features.d

    def prior(self) -> tuple[Matrix, Vector]:
        """A and b of a new user."""
        return prior(self.d)

    def decide(self, a: Matrix, b: Vector, context: Context, tasks: Sequence[Task], seed: int) -> Choice:
        """Choose one of `tasks` (at least one); `seed` makes all draws. Raises ridge.Singular for a damaged A or b."""
        odds = self.explorer.odds(a, b, self.features.columns(context, tasks))
        index, rest = sample(odds.propensities, uniform(seed, self.id, "sample"))
        score = float(odds.scores[index])
        if not math.isfinite(score):
            raise Singular(f"a score is {score}")
        # The beginning of a candidate's part of [0, 1) belongs to exploration.
        return Choice(index, score, odds.propensities, explored=rest < odds.random)

    def learn(self, a: Matrix, b: Vector, context: Context, task: Task, reward: float) -> tuple[Matrix, Vector]:
        """New A and b after `task` in `context` earned `reward` (-1..1). Raises ridge.Singular."""
        return observe(a, b, self.features.columns(context, (task,))[0], reward)

    def estimate(self, a: Matrix, b: Vector) -> Vector:
        """theta (d), in the order of the labels of the columns. Raises ridge.Singular."""
        return theta(a, b)
