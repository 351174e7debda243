"""The result of a simulation: reward, regret and share of the possible, each with its standard error over the seeds."""

import math
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.bandit.ridge import Matrix, Vector

__all__ = ["EVERY", "FIRST", "LAST", "Estimate", "Outcome"]

EVERY: Final = slice(None)
# The part of the decisions in which a policy is still new, and the one in which it has learned.
FIRST: Final = "first"
LAST: Final = "last"


class Estimate(msgspec.Struct, frozen=True):
    """A mean over seeds, and its standard error; with one seed the error is not known: nan."""

    mean: float
    error: float


class Outcome(msgspec.Struct, frozen=True):
    """Expected rewards of p policies under s seeds, summed over each of n stretches of the decisions of a user.

    `ends` (n) is the number of the last decision of each stretch, `earned` (p x s x n) what each policy earned, `best`
    and `random` (s x n) what the best choice and a random one would have.
    """

    policies: tuple[str, ...]
    ends: NDArray[np.int_]
    earned: NDArray[np.float64]
    best: Matrix
    random: Matrix

    @property
    def decisions(self) -> int:
        return int(self.ends[-1])

    @property
    def seeds(self) -> int:
        return len(self.best)

    def reward(self, policy: str) -> Estimate:
        """The mean reward of a decision."""
        return _estimate(self._of(policy).sum(axis=1) / self.decisions)

    def bounds(self) -> tuple[Estimate, Estimate]:
        """The mean reward of a decision made at random, and of the best one."""
        return _estimate(self.random.sum(axis=1) / self.decisions), _estimate(self.best.sum(axis=1) / self.decisions)

    def regret(self, policy: str) -> Estimate:
        """What a user missed in all decisions together."""
        return _estimate((self.best - self._of(policy)).sum(axis=1))

    def share(self, policy: str, part: str = "") -> Estimate:
        """(policy - random) / (best - random), in all decisions or in the `FIRST` or `LAST` tenth of them."""
        return _estimate(self._shares(policy, part))

    def behind(self, policy: str, other: str) -> Estimate:
        """The share of a policy minus that of another; seeds are compared one by one, for both met the same moments."""
        return _estimate(self._shares(policy) - self._shares(other))

    def ranking(self) -> list[str]:
        """The policies, the one with the highest share first."""
        return sorted(self.policies, key=lambda policy: -self.share(policy).mean)

    def shares(self, policy: str) -> tuple[Vector, Vector]:
        """The share in each stretch, and its standard errors (n each)."""
        return _estimates(_ratio(self._of(policy) - self.random, self.best - self.random))

    def regrets(self, policy: str) -> tuple[Vector, Vector]:
        """What a user missed up to the end of each stretch, and its standard errors (n each)."""
        return _estimates((self.best - self._of(policy)).cumsum(axis=1))

    def _of(self, policy: str) -> Matrix:
        found: Matrix = self.earned[self.policies.index(policy)]
        return found

    def _shares(self, policy: str, part: str = "") -> Vector:
        tenth = math.ceil(len(self.ends) / 10)
        at = {FIRST: slice(tenth), LAST: slice(-tenth, None)}.get(part, EVERY)
        gained = (self._of(policy) - self.random)[:, at].sum(axis=1)
        return _ratio(gained, (self.best - self.random)[:, at].sum(axis=1))


def _ratio(gained: NDArray[np.float64], possible: NDArray[np.float64]) -> NDArray[np.float64]:
    """Their ratio; 1 where nothing could be gained, for then every choice is the best one."""
    return np.divide(gained, possible, out=np.ones_like(gained), where=possible > 1e-12)


def _estimates(values: Matrix) -> tuple[Vector, Vector]:
    """Means and standard errors over the rows."""
    count = len(values)
    spread = values.std(axis=0, ddof=1) if count > 1 else np.full(values.shape[1], math.nan)
    return values.mean(axis=0), np.asarray(spread / math.sqrt(count), np.float64)


def _estimate(values: Vector) -> Estimate:
    means, errors = _estimates(values[:, None])
    return Estimate(float(means[0]), float(errors[0]))
