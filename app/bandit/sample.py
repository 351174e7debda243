"""The one place where chance enters a decision: random numbers from its seed, and the draw of a candidate."""

from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from itertools import accumulate
from typing import Final

import numpy as np

from app.bandit.ridge import Matrix

__all__ = ["SEED_BITS", "normals", "sample", "uniform"]

# Seeds are whole numbers of so many bits.
SEED_BITS: Final = 64


def uniform(seed: int, policy: str, purpose: str) -> float:
    """A number in [0, 1), a multiple of 2^-53, the same on every machine for the same arguments.

    Numbers of one seed are independent between policies and purposes, since each is a digest of all three.
    """
    return (_digest(seed, policy, purpose) >> 11) * 2.0**-53


def normals(seed: int, policy: str, purpose: str, shape: tuple[int, int]) -> Matrix:
    """Standard normal numbers, the same on every machine for the same arguments and the same version of numpy."""
    return np.random.Generator(np.random.PCG64(_digest(seed, policy, purpose))).standard_normal(shape)


def _digest(seed: int, policy: str, purpose: str) -> int:
    digest = blake2b(seed.to_bytes(8, "little") + _stream(policy, purpose), digest_size=8).digest()
    return int.from_bytes(digest, "little")


@lru_cache(256)
def _stream(policy: str, purpose: str) -> bytes:
    return f"{policy}\n{purpose}".encode()


def sample(propensities: Sequence[float], at: float) -> tuple[int, float]:
    """The index of the candidate in whose part of [0, 1) the number `at` lies, and how far into that part.

    The parts follow each other in the order of the candidates, each as long as its propensity; `propensities` add up to
    1. A candidate with propensity 0 is never drawn, even if rounding leaves the sum below 1.
    """
    ends = list(accumulate(propensities))
    index = bisect_right(ends, at)
    if index == len(ends):  # the sum was rounded down, and `at` lies above it
        index = max(place for place, propensity in enumerate(propensities) if propensity > 0.0)
    return index, at - (ends[index] - propensities[index])
