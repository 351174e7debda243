"""Whether the rewards of a loop find their decisions, by the hour, and whether what decisions bring has changed."""

from array import array
from collections.abc import Iterable
from typing import Any, Final

import msgspec
import numpy as np

from app.bandit.ridge import Vector
from app.decision_log.lines import milliseconds, moment
from app.evaluation.logged import Flags, Ints
from app.judging.regressors import Seen
from app.log_reading.joined import Told
from app.messages.pipeline import HealthColumn, HealthFeature, HealthHour, Joined, LoopHealth

__all__ = ["DAYS", "DELAYS", "HOURS", "Joining"]

HOURS: Final = 72
# Seconds from a decision to its first outcome, each about three times the one before.
DELAYS: Final = (1, 3, 10, 30, 60, 180, 600, 1_800, 3_600, 10_800, 21_600, 43_200, 86_400, 259_200, 604_800, 2_592_000)
_HOUR: Final = 3_600_000
# The last day, and the days before it.
DAYS: Final = 8
_DAY: Final = 24
_BEFORE: Final = (DAYS - 1) * _DAY
_MOST: Final = 32
_ROUNDING: Final = 1e-9
# Outcomes that no client told.
_SILENT: Final = frozenset({"default", "early"})


class Joining:
    """What became of the decisions that were added, whose columns are called `labels` and have these `features`.

    Memory is some 50 bytes for a decision, and for each hour 16 for each column and 8 for each feature.
    """

    def __init__(self, labels: Iterable[str], features: Iterable[str]) -> None:
        self._labels, self._features = list(labels), list(features)
        self._at, self._deadline, self._policy = array("q"), array("q"), array("q")
        self._explored, self._shown, self._late, self._defaulted = (array("b") for _ in range(4))
        self._reward, self._delay = array("d"), array("d")
        self._policies: dict[str, int] = {}
        # By hour: the number of decisions, the sums of the columns, of their squares, and of features without a value.
        self._seen: dict[int, Vector] = {}

    def add(self, told: Told, seen: Seen) -> None:
        """One more decision."""
        made, at, total = told.decision, milliseconds(told.decision.ts), told.total
        first = next((each for each in told.outcomes if each.total is not None and each.what not in _SILENT), None)
        answered = first is not None and total is not None
        for kept, value in (
            (self._at, at),
            (self._deadline, told.deadline),
            (self._policy, self._policies.setdefault(made.policy, len(self._policies))),
            (self._explored, made.explored),
            (self._shown, bool(told.shown)),
            (self._late, answered and first is not None and first.late),
            (self._defaulted, told.defaulted),
            (self._reward, np.nan if total is None else total),
            (self._delay, (milliseconds(first.ts) - at) / 1_000 if answered and first is not None else np.nan),
        ):
            kept.append(value)  # type: ignore[arg-type]  # each takes its own
        columns = np.concatenate((seen.context, seen.features.mean(axis=0)))
        lacking = [float(name in seen.lacking) for name in self._features]
        row = np.concatenate(([1.0], columns, columns**2, lacking))
        if (hour := at // _HOUR) in self._seen:
            self._seen[hour] += row
        else:
            self._seen[hour] = row

    def health(self, as_of: int, *, at: int, champion: str, missing: float | None) -> LoopHealth:
        """The health as of a moment, found at another (ms since 1970). Silence counts as `missing`, or not at all.

        Problems, and the course of the gate, are for others to say.
        """
        table = self._table(missing)
        matured = table.shown & (table.deadline <= as_of)
        day = matured & (table.deadline > as_of - _DAY * _HOUR)
        before = matured & ~day & (table.deadline > as_of - (_DAY + _BEFORE) * _HOUR)
        names, last = [*self._policies], as_of // _HOUR
        own = {name: day & (table.policy == code) for code, name in enumerate(names)}
        delays = table.delay[day & table.rewarded]
        columns, features = self._drift(last)
        return LoopHealth(
            at=_time(at),
            as_of=_time(as_of),
            champion=champion,
            problems=[],
            hours=[table.of_hour(hour, matured, names) for hour in range(last - HOURS + 1, last + 1)],
            day=Joined(**table.tally(day)),
            before=Joined(**table.tally(before)),
            by_policy={name: Joined(**table.tally(part)) for name, part in own.items() if part.any()},
            delay_edges=list(DELAYS),
            delays=np.bincount(np.searchsorted(DELAYS, delays), minlength=len(DELAYS) + 1).tolist(),
            delay_median=float(np.median(delays)) if len(delays) else None,
            columns=columns,
            features=features,
            gates={},
        )

    def _table(self, missing: float | None) -> "_Table":
        reward, delay = np.array(self._reward), np.array(self._delay)
        return _Table(
            hour=np.array(self._at, np.int64) // _HOUR,
            deadline=np.array(self._deadline, np.int64),
            policy=np.array(self._policy, np.int64),
            explored=np.array(self._explored, np.bool_),
            shown=np.array(self._shown, np.bool_),
            late=np.array(self._late, np.bool_),
            defaulted=np.array(self._defaulted, np.bool_),
            rewarded=~np.isnan(delay),
            delay=delay,
            reward=reward if missing is None else np.where(np.isnan(reward), missing, reward),
        )

    def _drift(self, last: int) -> tuple[list[HealthColumn], list[HealthFeature]]:
        """The columns and the features that changed most in the last day, the first ones most."""
        day, before = self._sum(last - _DAY, last), self._sum(last - _DAY - _BEFORE, last - _DAY)
        if not day[0] or not before[0]:
            return [], []
        mean, was, k = day[1:] / day[0], before[1:] / before[0], len(self._labels)
        spread = np.sqrt(np.maximum(was[k : 2 * k] - was[:k] ** 2, 0.0))
        shifts = [
            (mean[place] - was[place]) / spread[place] if spread[place] > _ROUNDING else None for place in range(k)
        ]
        columns = [
            HealthColumn(name, float(was[place]), float(mean[place]), None if shift is None else float(shift))
            for place, (name, shift) in enumerate(zip(self._labels, shifts, strict=True))
        ]
        features = [
            HealthFeature(name, float(was[place]), float(mean[place]))
            for place, name in enumerate(self._features, 2 * k)
        ]
        columns.sort(key=lambda each: -abs(each.day - each.before if each.shift is None else each.shift))
        features.sort(key=lambda each: -abs(each.day - each.before))
        return columns[:_MOST], features[:_MOST]

    def _sum(self, after: int, last: int) -> Vector:
        """What was seen in the hours after one up to another."""
        found = np.zeros(1 + 2 * len(self._labels) + len(self._features))
        for hour, row in self._seen.items():
            if after < hour <= last:
                found += row
        return found


class _Table(msgspec.Struct, frozen=True, kw_only=True):
    """n decisions: `reward` is nan where there is none, and `delay` (seconds) is nan where no client told one."""

    hour: Ints
    deadline: Ints
    policy: Ints
    explored: Flags
    shown: Flags
    late: Flags
    defaulted: Flags
    rewarded: Flags
    delay: Vector
    reward: Vector

    def tally(self, part: Flags) -> dict[str, Any]:
        """What `Joined` says of these decisions."""
        reward = self.reward[part & ~np.isnan(self.reward)]
        return {
            "matured": int(part.sum()),
            "rewarded": int((part & self.rewarded).sum()),
            "late": int((part & self.late).sum()),
            "defaulted": int((part & self.defaulted).sum()),
            "counted": len(reward),
            "total": float(reward.sum()),
            "squares": float((reward**2).sum()),
        }

    def of_hour(self, hour: int, matured: Flags, names: list[str]) -> HealthHour:
        """One hour; `names` are those of the policies."""
        part = self.hour == hour
        served = np.bincount(self.policy[part], minlength=len(names)).tolist()
        return HealthHour(
            at=_time(hour * _HOUR),
            decisions=int(part.sum()),
            explored=int((part & self.explored).sum()),
            answered=int((part & self.rewarded).sum()),
            served={name: count for name, count in zip(names, served, strict=True) if count},
            **self.tally(part & matured),
        )


def _time(ms: int) -> str:
    return f"{moment(ms)[:19]}Z"
