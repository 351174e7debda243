"""An independent reference: what decisions must have taught, by what clients were answered.

It shares no code with the service. Sums are those of numpy, so they are the service's to the last bit only where every
sum is exact: features and rewards that are multiples of a small power of 2, and policies that forget nothing.
"""

from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

__all__ = ["Loop", "Made", "Sums", "sums"]

Floats = NDArray[np.float64]


class Loop(msgspec.Struct, frozen=True, kw_only=True):
    """The rules of a loop: silence is worth `default` (None: nothing), in windows of `seconds`. A later reward replaces
    it, unless the loop `discards` it. Rewards `add_up` or there is one."""

    champion: str
    shadows: tuple[str, ...] = ()
    seconds: float
    default: float | None = None
    discards: bool = False
    adds_up: bool = False

    @property
    def policies(self) -> tuple[str, ...]:
        return (self.champion, *self.shadows)


class Made(msgspec.Struct):
    """A decision for `user` under the id `local`: the `candidate` that was chosen, and its columns `x` by policy.

    `parts` are the rewards that stand, None for one that was taken back; one that is no part has the name "". `reward`
    is what the policies have learned, `updates` how often they have, and `n` the number of outcomes.
    """

    user: str
    local: str
    loop: Loop
    candidate: str = ""
    x: Mapping[str, tuple[float, ...]] = {}
    status: Literal["open", "deferred", "rewarded", "retracted", "defaulted", "cancelled", "void"] = "open"
    parts: dict[str, float | None] = {}
    reward: float | None = None
    updates: int = 0
    n: int = 0

    @property
    def is_void(self) -> bool:
        return self.status == "void"

    @property
    def standing(self) -> float | None:
        """The sum of what was told, and None if nothing stands."""
        values = [value for value in self.parts.values() if value is not None]
        return sum(values) if values else None

    def tell(self, value: float | None, part: str = "") -> None:
        """A reward was told or corrected, or with None taken back."""
        self.parts[part] = value
        self.n += 1
        self._learn()

    def activate(self) -> None:
        """It was shown; a reward that came before counts now."""
        self.status = "open"
        self.n += self.standing is not None
        self._learn()

    def cancel(self) -> None:
        """It was never shown."""
        self.status = "cancelled"
        self.n += 1

    def close(self) -> None:
        """Its window is over: silence becomes the default, and what was never shown teaches nothing."""
        if self.status == "deferred":
            self.status = "void"
            self.n += 1
        elif self.status == "open" and self.loop.default is not None:
            self.status, self.reward = "defaulted", self.loop.default
            self.updates += 1
            self.n += 1

    def _learn(self) -> None:
        if self.status == "deferred" or not self.parts:
            return
        reward = self.standing
        # A correction adds to b alone: it is no update of its own.
        self.updates += self.reward is None and reward is not None
        self.status, self.reward = ("retracted" if reward is None else "rewarded"), reward


class Sums(msgspec.Struct):
    """What one policy must have learned of one user: A, b, and the counters beside them.

    `updates` never falls; `weight` and `squares` are the number of rewards and the sum of their squares as learned.
    """

    a: Floats
    b: Floats
    rewards: int
    total: float
    updates: int
    weight: float
    squares: float


def sums(d: int, learned: Iterable[tuple[tuple[float, ...], float]], *, updates: int, baseline: float = 0.0) -> Sums:
    """The sums over rewards, each with its `d` columns; `baseline` is taken from each before it is learned."""
    pairs = list(learned)
    x = np.array([row for row, _ in pairs]).reshape(-1, d)
    values = np.array([value for _, value in pairs])
    lifted = values - baseline
    return Sums(
        a=np.eye(d) + x.T @ x,
        b=x.T @ lifted,
        rewards=len(pairs),
        total=float(values.sum()),
        updates=updates,
        weight=float(len(pairs)),
        squares=float((lifted * lifted).sum()),
    )
