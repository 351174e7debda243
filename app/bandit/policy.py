"""A policy: an id, what it sees (featurizer), and how it picks (explorer). Pure: no I/O, no clock, no randomness."""

from collections.abc import Sequence

import msgspec

from app.bandit.explore import Choice, Draw, Explorer
from app.bandit.features import Context, Featurizer, Matrix, Task, Vector
from app.bandit.ridge import observe, prior, theta

__all__ = ["Policy"]


class Policy(msgspec.Struct, frozen=True):
    """One row of the registry; its models are the A (d x d) and b (d) of each user."""

    id: str
    featurizer: Featurizer
    explorer: Explorer

    @property
    def d(self) -> int:
        return self.featurizer.d

    @property
    def randomized(self) -> bool:
        """Whether chance has a part in its decisions, so that they are worth counting apart."""
        return self.explorer.randomized

    def prior(self) -> tuple[Matrix, Vector]:
        """A and b of a user who was never seen."""
        return prior(self.d)

    def decide(self, a: Matrix, b: Vector, context: Context, tasks: Sequence[Task], draw: Draw) -> Choice:
        """Pick one of `tasks` (at least one). Raises ridge.Singular for a damaged A or b."""
        return self.explorer.choose(a, b, self.featurizer.matrix(context, tasks), draw)

    def learn(self, a: Matrix, b: Vector, context: Context, task: Task, reward: float) -> tuple[Matrix, Vector]:
        """New A and b after `task` in `context` earned `reward` (-1..1). Raises ridge.Singular."""
        return observe(a, b, self.featurizer.matrix(context, (task,))[0], reward)

    def estimate(self, a: Matrix, b: Vector) -> Vector:
        """theta (d), in the order of the featurizer's labels. Raises ridge.Singular."""
        return theta(a, b)
