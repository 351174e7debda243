"""Logged decisions reduced to sums, from which estimates, checks and the gate are made: they add up in any order."""

from collections.abc import Iterable, Mapping
from typing import Final, Literal

import msgspec
import numpy as np

from app.bandit.ridge import Matrix, Vector
from app.evaluation.logged import BUCKETS, Flags, Ints, Logged, Users
from app.evaluation.weighed import Weighed

__all__ = ["COLUMNS", "OCTAVES", "Sums", "merged", "reduced"]

# The target's mass on weights over 2, 4, ... 65,536.
OCTAVES: Final = tuple(f"over_{2**power}" for power in range(1, 17))
# All are added up, but for the last, which is the greatest.
COLUMNS: Final = (
    "decisions",  # all
    "matured",  # of these, those that were shown and whose window is closed
    "rewarded",  # of these, those whose outcome a client told
    "open",  # the window is open, or it is not known yet whether it was shown
    "unlogged",  # matured, but without propensities that can be
    "n",  # matured, with propensities, and scored by the policy: the decisions that count
    "known",  # of these, those with an outcome
    "r",  # sums over `known`: R,
    "wr",  # w R,
    "known_w",  # w,
    "dr",  # and the terms of the doubly robust estimate; nan without a regression
    "w",  # sums over `n`: w,
    "w2",  # w squared,
    "chi",  # sum over candidates of e²/h,
    "off",  # the target's mass where h is 0,
    "w_variance",  # the variance of w,
    *OCTAVES,
    "explores",  # 1 - max e,
    "champion_explores",  # 1 - max c,
    "hits",  # 1 if the likeliest candidate was drawn,
    "h_max",  # its probability,
    "h_variance",  # and h_max (1 - h_max)
    "lost_hits",  # sums over `n` without `known`: hits - h_max,
    "lost_h_variance",  # its variance,
    "lost_e",  # e of the chosen one - sum of h e,
    "lost_e_variance",  # and its variance
    "gate_n",  # decisions of the gate: before the first open one, with an outcome in time
    "gate_lost",  # those without
    "share",  # sums over `gate_n`: the canary's share,
    "d",  # (1 - share) (e - c)/h R,
    "d2",  # its square,
    "u",  # (1 - share) (e - c)/h (1 - R),
    "u2",  # its square,
    "broken",  # and 1 if one of both is below -1
    "w_max",
)
_PLACE: Final = {name: place for place, name in enumerate(COLUMNS)}


class Sums(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over logged decisions, for one policy: k cells, each of one `hour`, one `era` and one `cluster`.

    A cluster is a user or, where `by` says so, a bucket of users. `cells` (k x `COLUMNS`) are their sums, in the scale
    in which R is from 0 to 1. Cells are distinct and sorted. The sums of an hour are final when it has no `open`
    decision; until then they are made anew from all decisions of the hour.
    """

    hour: Ints
    era: Ints
    cluster: Users
    cells: Matrix
    by: Literal["user", "bucket"] = "user"

    def __getitem__(self, column: str) -> Vector:
        """A column (k)."""
        return self.cells[:, _PLACE[column]]

    def total(self, column: str) -> float:
        """The sum of a column, or the greatest of `w_max`."""
        if column == "w_max":
            return float(self[column].max(initial=0.0))
        return float(self[column].sum())

    def of_gate(self) -> "Sums":
        """The cells that the gate reads: of the last era, up to the hour of the first open decision."""
        still_open = self.hour[self["open"] > 0]
        until = still_open.min() if len(still_open) else np.iinfo(np.int64).max
        return self.within((self.era == self.era.max(initial=-1)) & (self.hour <= until))

    def within(self, kept: Flags) -> "Sums":
        """The cells for which `kept` (k) is true."""
        return Sums(
            hour=self.hour[kept], era=self.era[kept], cluster=self.cluster[kept], cells=self.cells[kept], by=self.by
        )


def reduced(
    logged: Logged,
    target: Vector,
    era: Ints | None = None,
    *,
    by: Literal["user", "bucket"] = "user",
    terms: Vector | None = None,
) -> Sums:
    """The sums of a policy with the probabilities `target` (m; nan where it was not scored).

    `era` (n) is one of `logged.eras`; `terms` (n) are those of the doubly robust estimate. Hours must be whole: the
    gate's part of an hour ends at the first open decision of `logged`.
    """
    weighed = Weighed.of(logged, target)
    columns = weighed.columns()
    columns["dr"] = np.full(logged.n, np.nan) if terms is None else np.where(weighed.known, terms, 0.0)
    columns |= dict(zip(OCTAVES, weighed.masses(len(OCTAVES)), strict=True))
    cluster = logged.user % np.uint64(BUCKETS) if by == "bucket" else logged.user
    # An era in which the policy was not scored is none of its own.
    own = np.where(weighed.scored, 0 if era is None else era, -1)
    return _grouped(logged.hour, own, cluster, columns, by)


def merged(parts: Iterable[Sums]) -> Sums:
    """The sums of all decisions of `parts`, at least one, all of them by users or all by buckets."""
    found = list(parts)
    (by,) = {part.by for part in found}
    hour, era = (np.concatenate([getattr(part, key) for part in found]) for key in ("hour", "era"))
    cluster, cells = np.concatenate([part.cluster for part in found]), np.concatenate([part.cells for part in found])
    return _grouped(hour, era, cluster, dict(zip(COLUMNS, cells.T, strict=True)), by)


def _grouped(
    hour: Ints, era: Ints, cluster: Users, columns: Mapping[str, Vector], by: Literal["user", "bucket"]
) -> Sums:
    order = np.lexsort((cluster, era, hour))
    hour, era, cluster = hour[order], era[order], cluster[order]
    is_first = np.ones(len(order), bool)
    is_first[1:] = (np.diff(hour) != 0) | (np.diff(era) != 0) | (cluster[1:] != cluster[:-1])
    cell = np.empty(len(order), np.int64)
    cell[order] = is_first.cumsum() - 1
    count = int(is_first.sum())
    cells = np.zeros((count, len(COLUMNS)))
    for place, name in enumerate(COLUMNS[:-1]):
        cells[:, place] = np.bincount(cell, columns[name], count)
    np.maximum.at(cells[:, -1], cell, columns[COLUMNS[-1]])
    return Sums(hour=hour[is_first], era=era[is_first], cluster=cluster[is_first], cells=cells, by=by)
