"""Numbers added up cheaply in each process, and read for all processes together."""

import os
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from prometheus_client import Counter, Histogram, multiprocess
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

__all__ = ["SETTLE_SECONDS", "Tally", "Times", "Together", "forget_the_dead"]

# How old the numbers of the other processes may be in a scrape.
SETTLE_SECONDS: Final = 1.0


class Tally:
    """Events by their labels in plain numbers, `counts`, which `settle` adds to prometheus_client's counter.

    In prometheus_client 0.26 to count an event is eight calls, under two locks; here it is one addition.
    """

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self.counts: defaultdict[tuple[str, ...], int] = defaultdict(int)

    def expect(self, *labels: str) -> None:
        """Create the series with these labels at 0."""
        self._counter.labels(*labels)

    def settle(self) -> None:
        """Hand on what was counted since the last time."""
        for labels, count in self.counts.items():
            self._counter.labels(*labels).inc(count)
        self.counts.clear()


class Times:
    """Observations in plain numbers, which `settle` adds to prometheus_client's histogram.

    In prometheus_client 0.26 an observation tries the bounds one by one and takes two locks, three times the cost of
    this, and with several processes it writes to a file twice, ten times the cost. This class can go when Histogram has
    a public way to add many observations at once; until then it reaches into two private attributes.
    """

    def __init__(self, histogram: Histogram, bounds: Sequence[float]) -> None:
        self._histogram: Any = histogram
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def settle(self) -> None:
        """Hand on what was observed since the last time."""
        self._histogram._sum.inc(self._sum)  # noqa: SLF001  # see above
        for bucket, count in zip(self._histogram._buckets, self._counts, strict=True):  # noqa: SLF001  # see above
            if count:
                bucket.inc(count)
        self._counts = [0] * len(self._counts)
        self._sum = 0.0


class Together(Collector):
    """The numbers of all processes, read from the files in which each keeps its own.

    prometheus_client 0.26's own MultiProcessCollector raises for a file that a process has created and not yet filled.
    This class can go when that one skips such files.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def collect(self) -> Iterable[Metric]:
        files = [str(path) for path in self._directory.glob("*.db") if _is_filled(path)]
        merged: Iterable[Metric] = multiprocess.MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]  # untyped upstream
        return merged


def _is_filled(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:  # removed by another process
        return False


def forget_the_dead(directory: Path) -> None:
    """Remove the gauges of processes that have ended; their counters stay."""
    for path in directory.glob("gauge_live*.db"):
        try:
            os.kill(int(path.stem.rpartition("_")[2]), 0)
        except ProcessLookupError:
            path.unlink(missing_ok=True)
        except PermissionError:
            pass  # the process id now belongs to another user's process
