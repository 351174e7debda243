"""The one place where chance enters a decision: uniform numbers from its seed, and the draw of a candidate."""

from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from itertools import accumulate
from typing import Final

__all__ = ["SEED_BITS", "sample", "uniform"]

# Seeds are whole numbers of so many bits.
SEED_BITS: Final = 64


def uniform(seed: int, policy: str, purpose: str) -> float:
    """A number in [0, 1), a multiple of 2^-53, the same on every machine for the same arguments.

    Numbers of one seed are independent between policies and purposes, since each is a digest of all three.
    """
    digest = blake2b(seed.to_bytes(8, "little") + _stream(policy, purpose), digest_size=8).digest()
    return (int.from_bytes(digest, "little") >> 11) * 2.0**-53


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
