"""A kind of feature for objects with any names: hashes JSON of any shape into a fixed number of columns."""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from itertools import chain, islice
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.bandit.kinds import Kind

__all__ = ["MOST_CROSSED", "MOST_DEPTH", "MOST_TOKENS", "Nested", "Tokens", "tokens"]

# What is beyond is left out: a stranger's JSON costs bounded work.
MOST_TOKENS: Final = 128
# Of an object so many of the first parts are crossed.
MOST_CROSSED: Final = 64
MOST_DEPTH: Final = 8
_MOST_SEEN: Final = 1_024
_LONGEST_NAME: Final = 128
_LONGEST_TEXT: Final = 1_024
# Products that are made in one array: more would not lie in a processor's cache.
_AT_ONCE: Final = 32_768
_Words = NDArray[np.uint64]
# The mixing steps of SplitMix64 (Steele, Lea, Flood 2014).
_GAMMA, _FIRST, _SECOND = (np.uint64(word) for word in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
_SHIFTS: Final = tuple(np.uint64(bits) for bits in (30, 27, 31))
_SIGN, _REST = np.uint64(2**63), np.uint64(2**63 - 1)


class Tokens(NamedTuple):
    """The parts of an object: the hash of each name, and its value in -1..1."""

    words: _Words
    values: NDArray[np.float64]


_NONE: Final = Tokens(np.empty(0, np.uint64), np.empty(0))


class Nested(Kind, frozen=True):
    """An object, or a list of them, nested as it may be: each part in one of `buckets` columns, and each product of a
    part and one of another object too. Signed hashing: Weinberger et al. 2009, as `Hash`.

    A text is a part `name=text` of value 1, true is one of value 1, a number v is one of value u/(1+u) with the sign of
    v, where u = log2(1+|v|). A name is the path to it. All are divided by the square root of their count.
    """

    buckets: int

    @property
    def endings(self) -> tuple[str, ...]:
        return tuple(f"#{place}" for place in range(self.buckets))

    def columns(self, value: object, other: object = None) -> tuple[float, ...] | None:
        [row] = self.rows([value], other)
        return row

    def rows(self, values: Sequence[object], other: object = None) -> list[tuple[float, ...] | None]:
        """The columns of each of `values`, crossed with the object `other`, to the bit as each alone, at less cost."""
        found, whole = [tokens(value) for value in values], tokens(other) or _NONE
        beside = Tokens(whole.words[:MOST_CROSSED], whole.values[:MOST_CROSSED])
        read = [each for each in found if each is not None]
        most = max((len(each.words) for each in read), default=0) * (1 + len(beside.words))
        step = max(_AT_ONCE // max(most, 1), 1)
        rows = chain.from_iterable(self._summed(read[at : at + step], beside) for at in range(0, len(read), step))
        return [None if each is None else next(rows) for each in found]

    def _summed(self, read: Sequence[Tokens], beside: Tokens) -> Iterator[tuple[float, ...]]:
        """The columns of some objects."""
        words = np.concatenate([each.words for each in read])
        parts = np.concatenate([each.values for each in read])
        counts = np.array([len(each.words) for each in read], np.intp)
        # Where the row of each part begins.
        begin = np.repeat(np.arange(0, len(read) * self.buckets, self.buckets), counts)
        if len(beside.words):
            first = [np.arange(count) < MOST_CROSSED for count in counts]
            own = np.concatenate(first)
            crossed = _mixed(np.add.outer(words[own] * _FIRST, beside.words))
            words = np.concatenate([words, crossed.ravel()])
            parts = np.concatenate([parts, np.outer(parts[own], beside.values).ravel()])
            begin = np.concatenate([begin, np.repeat(begin[own], len(beside.words))])
            counts = counts + np.minimum(counts, MOST_CROSSED) * len(beside.words)
        # The first bit of a float is its sign: this is `parts` where a word has its own first bit, else `-parts`.
        signed = (parts.view(np.uint64) ^ (~words & _SIGN)).view(np.float64)
        at = self._buckets_of(words)
        at += begin
        sums = np.bincount(at, signed, len(read) * self.buckets).reshape(len(read), self.buckets)
        rows = sums / np.sqrt(np.maximum(counts, 1))[:, None]
        return map(tuple, np.clip(rows, -1.0, 1.0).tolist())

    def _buckets_of(self, words: _Words) -> NDArray[np.intp]:
        """The bucket of each word. A division costs ten times as much as taking the last bits, which are the same where
        there are 2**n buckets."""
        buckets = np.uint64(self.buckets)
        if self.buckets & (self.buckets - 1):
            return ((words & _REST) % buckets).astype(np.intp)
        return (words & (buckets - np.uint64(1))).astype(np.intp)


def tokens(value: object) -> Tokens | None:
    """The parts of an object or of a list of objects, at most 128; None for anything else."""
    if not isinstance(value, Mapping | list | tuple):
        return None
    objects = value if isinstance(value, list | tuple) else (value,)
    found: dict[str, float] = {}
    each = chain.from_iterable(_parts("", one, 0) for one in objects if isinstance(one, Mapping))
    for name, number in islice(each, _MOST_SEEN):
        if number and len(found) < MOST_TOKENS:
            found.setdefault(name, number)  # what is said twice counts once
    words = np.array([_hashed(name) for name in found], np.uint64)
    return Tokens(_mixed(words), np.array(list(found.values()), np.float64))


@lru_cache(4_096)
def _hashed(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(errors="replace"), digest_size=8).digest(), "little")


def _parts(path: str, value: object, depth: int) -> Iterator[tuple[str, float]]:
    """What is found on the way through a value; 0 where it is no part."""
    match value:
        case bool():
            yield path, float(value)
        case str() if len(value) <= _LONGEST_TEXT:
            yield f"{path}={value}", 1.0
        case int() | float():
            yield path, _squeezed(value)
        case Mapping() if depth < MOST_DEPTH:
            yield path, 0.0
            for name, inner in value.items():
                if len(name) <= _LONGEST_NAME:
                    yield from _parts(f"{path}/{name}", inner, depth + 1)
        case list() | tuple() if depth < MOST_DEPTH:
            yield path, 0.0
            for place, inner in enumerate(value):
                # The place of a number means something, as in a vector; that of a text or an object does not.
                is_number = isinstance(inner, int | float) and not isinstance(inner, bool)
                yield from _parts(f"{path}[{place}]" if is_number else path, inner, depth + 1)
        case _:
            yield path, 0.0


def _squeezed(value: float) -> float:
    """A number as one in -1..1; what is not finite is 0."""
    try:
        size = math.log2(1.0 + abs(value))
    except (OverflowError, ValueError):
        return 0.0
    return math.copysign(size / (1.0 + size), value) if math.isfinite(size) else 0.0


def _mixed(words: _Words) -> _Words:
    """Words whose bits all depend on all bits of these."""
    first, second, third = _SHIFTS
    words = words + _GAMMA
    words ^= words >> first
    words *= _FIRST
    words ^= words >> second
    words *= _SECOND
    words ^= words >> third
    return words
