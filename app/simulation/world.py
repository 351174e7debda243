"""A world: a place where the reward of every candidate is known, so that policies can be compared in it."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import msgspec

from app.bandit.context import Context, Fields
from app.bandit.ridge import Vector

__all__ = ["Moment", "World"]


class Moment(msgspec.Struct, frozen=True):
    """One decision to make. Of each of the k candidates it has the `expected` reward (k), and in `rewards` (k) the one
    that it would earn this time."""

    context: Context
    candidates: Sequence[Fields]
    expected: Vector
    rewards: Vector


class World(Protocol):
    """Some users, each with a number of decisions in a row. A policy learns for each user apart."""

    @property
    def users(self) -> int: ...

    @property
    def decisions(self) -> int:
        """The number of decisions of each user."""

    def moments(self, seed: int, user: int) -> Iterator[Moment]:
        """The decisions of a user (from 0), in order; the same for the same `seed`."""
