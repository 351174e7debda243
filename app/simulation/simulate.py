"""Policies beside each other in a world: each decides, earns and learns by the numeric core that serves."""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from app.bandit.policy import Policy
from app.simulation.outcome import Outcome
from app.simulation.world import World

__all__ = ["Simulation"]

# Into so many stretches, of equal length but for rounding, the decisions of a user are divided.
_STRETCHES: Final = 20
# A caller hears of the progress at least once in so many decisions.
_SAID: Final = 500


class Simulation:
    """A run of `policies` (with distinct ids) in a `world` under the seeds 0, 1, ... below `seeds`.

    All policies meet the same moments, and a candidate earns the same reward under each policy, so that their
    differences are known better than their rewards. Each user starts with an empty model, without the population's
    prior.
    """

    def __init__(self, policies: Sequence[Policy], world: World, seeds: int) -> None:
        self._policies = tuple(policies)
        self._world = world
        self._seeds = seeds
        count = world.decisions
        stretches = min(count, _STRETCHES)
        self._ends = np.ceil(np.arange(1, stretches + 1) * count / stretches - 1e-9).astype(int)
        self._stretch = np.searchsorted(self._ends, np.arange(count), side="right")
        self._earned = np.zeros((len(policies), seeds, stretches))
        self._best = np.zeros((seeds, stretches))
        self._random = np.zeros((seeds, stretches))

    @property
    def total(self) -> int:
        """The decisions of a complete run: seeds times users times decisions."""
        return self._seeds * self._world.users * self._world.decisions

    def run(self) -> Iterator[int]:
        """Simulate everything; says every now and then how many decisions were added."""
        for seed in range(self._seeds):
            for user in range(self._world.users):
                yield from self._one(seed, user)

    def outcome(self) -> Outcome:
        """What came of a complete run, for a user on average."""
        users = self._world.users
        names = tuple(policy.id for policy in self._policies)
        return Outcome(names, self._ends, self._earned / users, self._best / users, self._random / users)

    def _one(self, seed: int, user: int) -> Iterator[int]:
        chance = np.random.default_rng((seed, user))
        models = [policy.prior() for policy in self._policies]
        said = 0
        for number, moment in enumerate(self._world.moments(seed, user)):
            at = self._stretch[number]
            self._best[seed, at] += moment.expected.max()
            self._random[seed, at] += moment.expected.mean()
            draw = int(chance.integers(2**64, dtype=np.uint64))
            for place, policy in enumerate(self._policies):
                a, b = models[place]
                x = policy.see(moment.context, moment.candidates)
                chosen = policy.decide(a, b, x, draw).index
                self._earned[place, seed, at] += moment.expected[chosen]
                models[place] = policy.learn(a, b, x[chosen], float(moment.rewards[chosen]))
            if number - said >= _SAID:
                yield number - said
                said = number
        yield self._world.decisions - said
