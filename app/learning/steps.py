"""What a reward, and its correction, do to the A, b and counters of a model, whichever columns it has. Pure."""

import msgspec
import numpy as np

from app.bandit.ridge import Matrix, Vector, prior
from state.values.columns import Columns
from state.values.record import Meta

__all__ = ["Correction", "correction", "grown", "known_then", "rewarded"]


class Correction(msgspec.Struct, frozen=True):
    """What is added: `seen` times xxᵀ to A, `change` times x to b; and the counters after it."""

    seen: float
    change: float
    meta: Meta


def rewarded(meta: Meta, reward: float, now: int, *, baseline: float, forget: float) -> Meta:
    """The counters of a model after it learned `reward` at `now` (Unix seconds)."""
    return meta.rewarded(now, reward, learned=reward - baseline, forget=forget)


def correction(
    meta: Meta, updates: int, *, was: float, now: float | None, baseline: float, forget: float
) -> Correction:
    """What makes the reward `was`, learned as the `updates`-th, one that is `now`, or was never given.

    What came after it has aged it, and so ages the correction: by the weight of the past for each later reward.
    """
    weight = forget ** max(meta.updates - updates, 0)
    old, new = was - baseline, 0.0 if now is None else now - baseline
    gone = now is None
    after = meta.adjusted(
        -was if now is None else now - was,
        rewards=-gone,
        weight=-weight * gone,
        squares=weight * (new * new - old * old),
    )
    return Correction(-weight * gone, weight * (new - old), after)


def grown(a: Matrix, b: Vector, d: int) -> tuple[Matrix, Vector]:
    """A and b as the first rows and columns of those for `d` columns: never to have had the others changes nothing."""
    more_a, more_b = prior(d)
    more_a[: len(b), : len(b)], more_b[: len(b)] = a, b
    return more_a, more_b


def known_then(x: Vector, own: Columns, had: Columns) -> Vector:
    """The columns `x` of a policy that has `own` without those that its model did not have when it learned."""
    there = frozenset(had.pairs)
    return np.where([pair in there for pair in own.pairs], x, 0.0)
