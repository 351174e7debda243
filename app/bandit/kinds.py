"""The kinds of features: how one value of a request becomes columns.

A kind returns the numbers of its columns, all in [-1, 1], or None for a value that it cannot read.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from hashlib import blake2b
from itertools import pairwise

import msgspec

__all__ = ["Alignment", "Bins", "Category", "Cycle", "Flag", "Hash", "Kind", "Member", "Number", "Vector", "number"]

# The texts of a list that are hashed; a longer list cannot be read.
_MOST_TEXTS = 64
_LONGEST_TEXT = 1_024
# The types of what may be a number.
_READ = (int, float, str)


def number(value: object) -> float | None:
    """`value` as a finite number: a number, the text of one, or true and false as 1 and 0; None for anything else."""
    if not isinstance(value, _READ):  # a union would be made anew each time
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


class Kind(msgspec.Struct, frozen=True):
    """A kind of feature, without its name: the endings of its columns, and their values."""

    @property
    def endings(self) -> tuple[str, ...]:
        """What follows the feature's name in the label of each column."""
        return ("",)

    def columns(self, value: object, other: object = None) -> tuple[float, ...] | None:
        """The columns of `value`; `other` is the value of the field that an alignment compares with."""
        raise NotImplementedError


class Number(Kind, frozen=True):
    """A number from `low` to `high`, clipped and mapped to 0..1; with `log` by its logarithm."""

    low: float
    high: float
    log: bool = False

    def columns(self, value: object, other: object = None) -> tuple[float, ...] | None:
        found = number(value)
        if found is None:
            return None
        above = min(max(found, self.low), self.high) - self.low
        if self.log:
            return (math.log1p(above) / math.log1p(self.high - self.low),)
        return (above / (self.high - self.low),)


class Flag(Kind, frozen=True):
    """True or false: 1 or 0. A number is clipped to 0..1."""

    def columns(self, value: object, other: object = None) -> tuple[float, ...] | None:
        found = number(value)
        return None if found is None else (min(max(found, 0.0), 1.0),)


class Member(Kind, frozen=True):
    """Whether the value is one of `values`: 1 or 0."""

    values: frozenset[float | str]

    def columns(self, value: object, other: object = None) -> tuple[float, ...] | None:
        return (float(value in self.values),) if isinstance(value, int | float | str) else None


class Cycle(Kind, frozen=True):
    """A point of a circle of length `period`, so that its end is next to its beginning: sine and cosine."""

    period: float

    @property
    def endings(self) -> tuple[str, ...]:
        return ("_sin", "_cos")

    def columns(self, value: object, other: object = None) -> tuple[float, ...] | None:
        found = number(value)
        if found is None:
            return None
        # Reduced to one turn, since the angle of an enormous number would overflow.
        angle = 2 * math.pi * math.fmod(found, self.period) / self.period
        return math.sin(angle), math.cos(angle)


class Alignment(Kind, frozen=True):
    """How near two points of a circle of length `period` are: 1 for the same point, 0 for opposite ones."""

    period: float

    def columns(self, value: object, other: object = None) -> tuple[float, ...] | None:
        one, two = number(value), number(other)
        if one is None or two is None:
            return None
        gap = one - two
        if not math.isfinite(gap):
            return None
        turned = math.fmod(gap, self.period)
        return ((math.cos(2 * math.pi * turned / self.period) + 1) / 2,)


class Bins(Kind, frozen=True):
    """The range in which a number lies, one column for each; `edges` ascend, and an edge belongs to the range above."""

    edges: tuple[float, ...]

    @property
    def endings(self) -> tuple[str, ...]:
        edges = [_text(edge) for edge in self.edges]
        return (f"<{edges[0]}", *(f"[{low},{high})" for low, high in pairwise(edges)), f">={edges[-1]}")

    def columns(self, value: object, other: object = None) -> tuple[float, ...] | None:
        found = number(value)
        if found is None:
            return None
        return _one(bisect_right(self.edges, found), len(self.edges) + 1)


class Category(Kind, frozen=True):
    """One of `values`, one column for each; another value cannot be read."""

    values: tuple[float | str, ...]

    @property
    def endings(self) -> tuple[str, ...]:
        return tuple(f"={_text(value)}" for value in self.values)

    def columns(self, value: object, other: object = None) -> tuple[float, ...] | None:
        if not isinstance(value, int | float | str) or value not in self.values:
            return None
        return _one(self.values.index(value), len(self.values))


class Hash(Kind, frozen=True):
    """A text or a list of texts, each added to or subtracted from one of `buckets` columns; the row has length 1.

    Signed hashing keeps products of rows right on average: Weinberger et al. 2009, "Feature hashing for large scale
    multitask learning".
    """

    buckets: int

    @property
    def endings(self) -> tuple[str, ...]:
        return tuple(f"#{place}" for place in range(self.buckets))

    def columns(self, value: object, other: object = None) -> tuple[float, ...] | None:
        texts: Sequence[object] = value if isinstance(value, list | tuple) else (value,)
        if len(texts) > _MOST_TEXTS:
            return None
        row = [0.0] * self.buckets
        for text in texts:
            if not isinstance(text, str) or len(text) > _LONGEST_TEXT:
                return None
            digest = int.from_bytes(blake2b(text.encode(errors="replace"), digest_size=8).digest(), "little")
            row[(digest >> 1) % self.buckets] += 1.0 if digest & 1 else -1.0
        length = math.sqrt(sum(part * part for part in row))
        return tuple(part / length for part in row) if length else tuple(row)


class Vector(Kind, frozen=True):
    """A list of `size` numbers, each clipped to -1..1, such as an embedding of length 1."""

    size: int

    @property
    def endings(self) -> tuple[str, ...]:
        return tuple(f"[{place}]" for place in range(self.size))

    def columns(self, value: object, other: object = None) -> tuple[float, ...] | None:
        if not isinstance(value, list | tuple) or len(value) != self.size:
            return None
        found = [part for part in map(number, value) if part is not None]
        return tuple(min(max(part, -1.0), 1.0) for part in found) if len(found) == self.size else None


def _text(value: float | str) -> str:
    """The shortest text of a number that tells it from all others, without a fraction of 0."""
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)


def _one(place: int, count: int) -> tuple[float, ...]:
    return tuple(float(each == place) for each in range(count))
