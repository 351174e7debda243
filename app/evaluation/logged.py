"""Logged decisions of a loop as arrays: what every estimate, check and gate is made from."""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.bandit.ridge import Matrix, Vector

__all__ = ["BUCKETS", "MOST_COLUMNS", "Flags", "Ints", "Logged", "Users", "user_code"]

# Users are gathered in so many buckets where sums are kept instead of decisions.
BUCKETS: Final = 64

# Columns of a regression, its constant included.
MOST_COLUMNS: Final = 512

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Users = NDArray[np.uint64]


class Logged(msgspec.Struct, frozen=True, kw_only=True):
    """n decisions in the order in which they were made, with m candidates in all.

    Arrays of length m hold one number for each candidate, those of a decision side by side in the order of the request:
    decision t has the places `starts[t]` to `starts[t + 1]` (`starts` has length n + 1).

    - `propensities` (m): what was drawn from; nan in a decision whose propensities are missing.
    - `by_policy` (m each): what each policy alone would have given, logged at the decision; nan where it was not
      scored. It holds the `champion` and each challenger.
    - `chosen` (n): the place of the chosen one among the decision's own candidates, from 0.
    - `reward` (n): the outcome as it stands now; nan: none. `reward_in_time` (n): as it stood at the deadline. Rewards
      are from `low` to `high`; silence counts as `missing`, or is left out if that is None.
    - `user` (n): `user_code` of the user's id. `hour` (n): hours since 1970, never falling.
    - `matured` (n): the window has closed. `shown` (n): False for a deferred one that was never activated, and for what
      is void.
    - `eras` (n each, by challenger): numbers from 0, a higher one after each change of champion, challenger, the
      version of either or the canary's share; the gate reads the highest. `share` (n): the canary's share, 0 without a
      canary.
    - `excluded` (m): could not be chosen by anyone.
    - `context` (n x a), `features` (m x b): columns of the decision and of its candidates, about in [-1, 1], for the
      doubly robust estimate; at most 511 together.

    Raises ValueError if lengths do not fit, or a reward is out of its bounds.
    """

    champion: str
    starts: Ints
    propensities: Vector
    by_policy: Mapping[str, Vector]
    chosen: Ints
    reward: Vector
    reward_in_time: Vector
    user: Users
    hour: Ints
    matured: Flags
    shown: Flags
    eras: Mapping[str, Ints]
    share: Vector
    excluded: Flags
    context: Matrix
    features: Matrix
    low: float = -1.0
    high: float = 1.0
    missing: float | None = None

    def __post_init__(self) -> None:
        n, m = len(self.chosen), len(self.propensities)
        of_decisions = {
            name: getattr(self, name)
            for name in ("reward", "reward_in_time", "user", "hour", "matured", "shown", "share", "context")
        } | {f"eras of {name}": era for name, era in self.eras.items()}
        of_candidates = {"excluded": self.excluded, "features": self.features, **self.by_policy}
        wrong = [name for name, array in of_decisions.items() if len(array) != n]
        wrong += [name for name, array in of_candidates.items() if len(array) != m]
        if wrong:
            raise ValueError(f"{', '.join(wrong)}: another length than {n:,} decisions with {m:,} candidates")
        if len(self.starts) != n + 1 or self.starts[0] != 0 or self.starts[-1] != m:
            raise ValueError(f"starts: takes {n + 1:,} places from 0 to {m:,}")
        sizes = np.diff(self.starts)
        if (sizes < 1).any() or (self.chosen < 0).any() or (self.chosen >= sizes).any():
            raise ValueError("chosen: takes a place among the decision's candidates, of which there is at least one")
        if (np.diff(self.hour) < 0).any():
            raise ValueError("hour: takes decisions in the order in which they were made")
        if self.champion not in self.by_policy or not self.low < self.high:
            raise ValueError("champion: takes a policy of by_policy; low: a number below high")
        if self.context.shape[1] + self.features.shape[1] >= MOST_COLUMNS:
            raise ValueError(f"context, features: take at most {MOST_COLUMNS - 1} columns together")
        rewards = np.concatenate((self.reward, self.reward_in_time))
        if (rewards < self.low).any() or (rewards > self.high).any():
            raise ValueError(f"reward: takes {self.low:g} to {self.high:g}; a reward out of them cannot be judged")

    @property
    def n(self) -> int:
        return len(self.chosen)

    @property
    def challengers(self) -> list[str]:
        """All policies but the champion, in order."""
        return [name for name in self.by_policy if name != self.champion]


def user_code(user_id: str) -> int:
    """A number of 64 bits for a user: its remainder by `BUCKETS` is the user's bucket."""
    return int.from_bytes(blake2b(user_id.encode(), digest_size=8).digest(), "little")
