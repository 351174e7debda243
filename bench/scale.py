"""What deployments of many users need, computed from what was measured, and which limit comes first.

The constants are figures of docs/change/performance.md and docs/change/scale.md. Times are those of an idle machine:
what was measured on a busy one enters as its ratio to a score in the same run.
"""

import math
from collections.abc import Iterator
from typing import Final

import msgspec
import numpy as np

from bench.report import Section
from state.parts import SLOTS

__all__ = ["Demand", "Need", "need", "sections"]

_US: Final = 1e-6
_GB: Final = 1e9
# A score, µs of Redis and of the service: one of 32 at once.
_REDIS_SCORE: Final = 8.2
_SERVICE_SCORE: Final = 103.4
# A decision of the built-in loop, champion and three shadows, in a transaction of its own, in units of a score of the
# same run. So it is in a Cluster, and in one Redis at the rates of as many users as it can hold.
_REDIS_DECISION: Final = 14.3
_SERVICE_DECISION: Final = 6.6
# Bytes: the models, 100 entries of history and what else does not grow with decisions; each open and each rewarded
# decision; a line of the log, of which an outcome's is a quarter; an operation id.
_USER_BYTES: Final = 13_000
_OPEN_BYTES: Final = 2_640
_REWARDED_BYTES: Final = 820
_LINE_BYTES: Final = 2_100
_FLIGHT_BYTES: Final = 120
_LANES: Final = 2
_LANES_IN_CLUSTER: Final = 16
# What is left free: a copy while a snapshot is written, room for fragments, failures and peaks.
_NODE_BYTES: Final = 20 * _GB
_BUSY: Final = 0.5


class Demand(msgspec.Struct, frozen=True):
    """So many users with so many decisions a day each, of which a share is rewarded soon and the others stay open for a
    day; the busiest second has `peak` times the mean."""

    users: int
    decisions_a_day: float = 10.0
    rewarded: float = 0.3
    peak: float = 3.0


class Need(msgspec.Struct, frozen=True):
    """Decisions a second at the peak; bytes in Redis; masters that memory and processor time ask for, processes of the
    service, and bytes of the log a day."""

    rate: float
    bytes: float
    by_memory: int
    by_processor: int
    processes: int
    log_bytes: float

    @property
    def masters(self) -> int:
        """One server, or at least three in a Cluster."""
        most = max(self.by_memory, self.by_processor)
        return most if most == 1 else max(3, most)

    @property
    def flight_bytes(self) -> float:
        """What the operation ids of all processes take at most: one for each lane and slot."""
        lanes = self.processes * (_LANES_IN_CLUSTER * SLOTS if self.masters > 1 else _LANES)
        return float(lanes * _FLIGHT_BYTES)


def need(demand: Demand) -> Need:
    """What a demand needs. A reward by id counts as a decision."""
    rate = demand.users * demand.decisions_a_day * demand.peak / 86_400
    kept = demand.decisions_a_day * ((1 - demand.rewarded) * _OPEN_BYTES + demand.rewarded * _REWARDED_BYTES)
    stored = demand.users * (_USER_BYTES + kept)
    by_memory = math.ceil(stored / _NODE_BYTES)
    requests = rate * (1 + demand.rewarded)
    return Need(
        rate=rate,
        bytes=stored,
        by_memory=by_memory,
        by_processor=math.ceil(requests * _REDIS_SCORE * _REDIS_DECISION * _US / _BUSY),
        processes=max(2, math.ceil(requests * _SERVICE_SCORE * _SERVICE_DECISION * _US / _BUSY)),
        log_bytes=demand.users * demand.decisions_a_day * (1 + demand.rewarded / 4) * _LINE_BYTES,
    )


def _uneven(masters: int, *, users: int, skew: float) -> float:
    """How much more than the mean the busiest master has to do, if user i of `users` asks in proportion to i**-skew.

    Simulated: users are dealt to slots by chance, and slots to masters in equal ranges.
    """
    chance = np.random.default_rng(1)
    weights = np.arange(1, users + 1) ** -skew
    slots = chance.integers(0, SLOTS, users)
    loads = np.bincount(slots * masters // SLOTS, weights=weights, minlength=masters)
    return float(loads.max() / loads.mean())


def sections() -> Iterator[Section]:
    """The table of deployments, and how unevenly users fall on masters."""
    rows = []
    for users in (200_000, 1_000_000, 10_000_000, 100_000_000):
        found = need(Demand(users))
        rows.append(
            [
                f"{users:,}",
                f"{found.rate:,.0f}",
                f"{found.bytes / _GB:,.0f}",
                f"{found.by_memory:,}",
                f"{found.by_processor:,}",
                f"{found.processes:,}",
                f"{found.flight_bytes / _GB:,.1f}",
                f"{found.log_bytes / _GB:,.0f}",
            ]
        )
    header = ["users", "decisions/s", "GB in Redis", "masters by memory", "by processor", "processes"]
    header += ["GB of operation ids", "GB of log a day"]
    demand = Demand(0)
    how = (
        f"{demand.decisions_a_day:.0f} decisions a user and day, {demand.rewarded:.0%} rewarded, the others open for a"
        f" day, the peak {demand.peak:.0f} times the mean; {_NODE_BYTES / _GB:.0f} GB a master, processors"
        f" {_BUSY:.0%} busy"
    )
    yield Section("Deployments", how, header, rows)
    masters = (3, 16, 128)
    uneven = [
        [f"{skew}", *(f"{_uneven(count, users=1_000_000, skew=skew):.2f}" for count in masters)]
        for skew in (0.0, 0.6, 1.0)
    ]
    how = "Work of the busiest master, in units of the mean; 1,000,000 users; the i-th asks in proportion to i^-s"
    yield Section("Uneven masters", how, ["s", *(f"{count} masters" for count in masters)], uneven)
