"""The numbers of several processes, added up cheaply in each and read together."""

import os
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from prometheus_client import (
    Histogram,
    multiprocess,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

__all__ = []

# How old the numbers of the other processes may be in a scrape.
_SETTLE_SECONDS: Final = 1.0


class _Times:
    """Observations added up in plain numbers, at a sixth of prometheus_client's price; `settle` hands them on to it."""

    def __init__(self, histogram: Histogram, bounds: Sequence[float]) -> None:
        self._histogram: Any = histogram
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def settle(self) -> None:
        # It has no public way to add several at once.
        self._histogram._sum.inc(self._sum)  # noqa: SLF001
        for bucket, count in zip(self._histogram._buckets, self._counts, strict=True):  # noqa: SLF001
            if count:
                bucket.inc(count)
        self._counts = [0] * len(self._counts)
        self._sum = 0.0


class _Together(Collector):
    """The numbers of all processes, read from the files in which each keeps its own.

    prometheus_client's own collector fails at a file that a process has just made and not yet filled; it says nothing.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def collect(self) -> Iterable[Metric]:
        files = [str(path) for path in self._directory.glob("*.db") if _is_filled(path)]
        found: Iterable[Metric] = multiprocess.MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]  # theirs
        return found


def _is_filled(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:  # another process has just forgotten a dead one
        return False


def _forget_the_dead(directory: Path) -> None:
    """Remove what processes that are gone said of their present; what they counted stays counted."""
    for path in directory.glob("gauge_live*.db"):
        try:
            os.kill(int(path.stem.rpartition("_")[2]), 0)
        except ProcessLookupError:
            path.unlink(missing_ok=True)
        except PermissionError:
            pass  # alive, and another user's by now
