"""Simulated owners of tasks: whether a tip about a task helps depends on the task, the hour, the day, and the owner."""

import math
from collections.abc import Iterator
from typing import Final

import msgspec
import numpy as np

from app.bandit.context import Context
from app.bandit.ridge import Matrix, Vector
from app.simulation.world import Moment

__all__ = ["Owners", "Tasks"]

# Tasks among which a decision chooses.
_CANDIDATES: Final = 8
_OLDEST: Final = 30.0
_OVERDUE: Final = 0.4
# What an owner wants is a table: rows 1, sine and cosine of the hour, weekend; columns 1, overdue, age, priority. These
# are the means and the standard deviations over owners. The first column moves no choice, only the reward.
_USUAL: Final = np.array([[-0.2, 0.2, 0.0, 0.2], [0.0] * 4, [0.0] * 4, [0.0] * 4])
_DIFFER: Final = np.array([[0.2, 0.4, 0.4, 0.4], [0.2, 0.3, 0.3, 0.3], [0.2, 0.3, 0.3, 0.3], [0.2, 0.3, 0.3, 0.3]])


class Tasks(msgspec.Struct, frozen=True):
    """k tasks: whether each is `overdue`, its `age` in days (0 to 30) and its `priority` (1 to 4)."""

    overdue: Vector
    age: Vector
    priority: Vector

    def fields(self) -> list[dict[str, object]]:
        """As a request has them."""
        columns = zip(self.overdue.tolist(), self.age.tolist(), self.priority.tolist(), strict=True)
        return [{"is_overdue": bool(o), "task_age_days": a, "priority": int(p)} for o, a, p in columns]

    def wanted(self, wants: Matrix, hour: int, day: int) -> Vector:
        """The mean reward (k) of a tip about each, from -1 to 1, for an owner who `wants` (4 x 4) this; `day` 0 is
        Monday."""
        angle = 2 * math.pi * hour / 24
        moment = np.array([1.0, math.sin(angle), math.cos(angle), float(day >= 5)])
        ones = np.ones(len(self.overdue))
        columns = np.array([ones, self.overdue, self.age / _OLDEST, (self.priority - 1.0) / 3.0])
        return np.asarray(np.clip(moment @ wants @ columns, -1.0, 1.0), np.float64)


class Owners(msgspec.Struct, frozen=True):
    """`users` owners with as many `decisions` each, among eight tasks; under another seed they are other owners.

    The mean reward is linear in the products of what is known of the moment and of the task, and clipped. The reward is
    -1, -0.5, 0, 0.5 or 1, and has exactly this mean: it is the number of successes in four trials.
    """

    users: int = 20
    decisions: int = 200

    def wants(self, seed: int, user: int) -> Matrix:
        """What an owner (from 0) wants (4 x 4)."""
        return np.random.default_rng((seed, user, 0)).normal(_USUAL, _DIFFER)

    def moments(self, seed: int, user: int) -> Iterator[Moment]:
        wants, chance = self.wants(seed, user), np.random.default_rng((seed, user, 1))
        size = (self.decisions, _CANDIDATES)
        hours, days = chance.integers(7, 23, self.decisions).tolist(), chance.integers(7, size=self.decisions).tolist()
        overdue = (chance.random(size) < _OVERDUE).astype(np.float64)
        age = np.minimum(chance.exponential(_OLDEST / 3, size), _OLDEST)
        priority = chance.integers(1, 5, size).astype(np.float64)
        # A reward has four trials; each succeeds if its number is below the chance of success.
        trials = chance.random((self.decisions, 4, _CANDIDATES))
        for number, (hour, day) in enumerate(zip(hours, days, strict=True)):
            tasks = Tasks(overdue[number], age[number], priority[number])
            expected = tasks.wanted(wants, hour, day)
            rewards = (trials[number] < (1.0 + expected) / 2.0).sum(axis=0) / 2.0 - 1.0
            yield Moment(Context({"hour_of_day": hour, "day_of_week": day}), tasks.fields(), expected, rewards)
