"""How a policy stood in the course of a log, for plots: the gate up to each moment, and the reward in each stretch."""

import math
from typing import Final

import msgspec
import numpy as np

from app.evaluation import gate
from app.evaluation.estimators import clusters, snips
from app.evaluation.logged import Ints
from app.evaluation.sums import Sums

__all__ = ["Gates", "Rewards", "gates", "rewards", "stretches"]

# More points than these no plot needs.
_MOST: Final = 30


class Rewards(msgspec.Struct, frozen=True):
    """By stretch of time the estimated reward (SNIPS) and its ends; None where nothing is known."""

    estimate: list[float | None]
    low: list[float | None]
    high: list[float | None]


class Gates(msgspec.Struct, frozen=True):
    """After so many `decisions` of the last era the bounds of the mean difference so far."""

    decisions: list[int]
    low: list[float]
    high: list[float]


def stretches(sums: Sums) -> Ints:
    """The last hours of at most 30 stretches with equally many hours."""
    hours = np.unique(sums.hour)
    return hours[_ends(len(hours))]


def rewards(sums: Sums, ends: Ints, low: float, high: float) -> Rewards:
    """The rewards, from `low` to `high`, in stretches that end with the hours `ends`."""
    found = Rewards([], [], [])
    for after, end in zip([np.iinfo(np.int64).min, *ends[:-1]], ends, strict=True):
        part = sums.within((sums.hour > after) & (sums.hour <= end))
        known = part.total("known_w") > 0.0
        each = snips(part, clusters(part)).scaled(low, high) if known else None
        found.estimate.append(each.estimate if each else None)
        found.low.append(each.low if each else None)
        found.high.append(each.high if each else None)
    return found


def gates(sums: Sums, challengers: int, width: float) -> Gates:
    """The bounds at up to 30 moments, for rewards whose greatest is `width` above their least."""
    read, found = sums.of_gate(), Gates([], [], [])
    hours = np.unique(read.hour)
    for end in hours[_ends(len(hours))]:
        bounds = gate.bounds(read.within(read.hour <= end), challengers)
        if bounds.n and not bounds.refused:
            found.decisions.append(bounds.n)
            found.low.append(width * bounds.low)
            found.high.append(width * bounds.high)
    return found


def _ends(count: int) -> list[int]:
    """The places of the last of each of at most 30 stretches of `count` things."""
    parts = min(count, _MOST)
    return [math.ceil(count * number / parts) - 1 for number in range(1, parts + 1)]
