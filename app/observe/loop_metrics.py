"""What is told of loops: who serves them, and what `judge` found in their log."""

import math
from datetime import datetime

from prometheus_client import CollectorRegistry

from app.messages.pipeline import GatePoint, Joined, LoopHealth
from app.observe import loop_series
from state.values.loop import Canary

__all__ = ["LoopMetrics"]


class LoopMetrics:
    """Metrics of loops in `registry`. What is not known is nan: a series that was there must not keep an old value."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._states = loop_series.STATE.made(registry)
        self._canaries = loop_series.CANARY.made(registry)
        self._judged = loop_series.JUDGED.made(registry)
        self._problems = loop_series.PROBLEMS.made(registry)
        self._joined = loop_series.JOINED.made(registry)
        self._delay = loop_series.DELAY.made(registry)
        self._mean = loop_series.REWARD.made(registry)
        self._gate = loop_series.GATE.made(registry)
        self._e_value = loop_series.E_VALUE.made(registry)
        self._needed = loop_series.NEEDED.made(registry)
        self._canary_of: dict[str, str] = {}
        self._challengers: dict[str, set[str]] = {}

    def loop_state(self, loop: str, number: int, canary: Canary | None = None) -> None:
        """Note the state by which a loop decides."""
        self._states.labels(loop).set(number)
        if (before := self._canary_of.pop(loop, None)) is not None:
            self._canaries.labels(loop, before).set(0)
        if canary is not None:
            self._canary_of[loop] = canary.policy
            self._canaries.labels(loop, canary.policy).set(canary.share)

    def loop_health(self, loop: str, health: LoopHealth) -> None:
        """Note what `judge` found last."""
        self._judged.labels(loop).set(datetime.fromisoformat(health.at).timestamp())
        self._problems.labels(loop).set(len(health.problems))
        self._joined.labels(loop, "day").set(_joined(health.day))
        self._joined.labels(loop, "week").set(_joined(health.before))
        self._delay.labels(loop).set(math.nan if health.delay_median is None else health.delay_median)
        self._mean.labels(loop).set(health.day.total / health.day.counted if health.day.counted else math.nan)
        known = self._challengers.setdefault(loop, set())
        known.update(health.gates)
        for policy in known:
            point = next(iter(health.gates.get(policy, [])[-1:]), None)
            self._challenger(loop, policy, point if point and point.at == health.at else None)

    def _challenger(self, loop: str, policy: str, point: GatePoint | None) -> None:
        low, high, log_e, needed = 4 * (math.nan,)
        if point is not None:
            low, high, log_e = point.low, point.high, point.log_e_value
            needed = math.inf if point.needed is None else point.needed
        self._gate.labels(loop, policy, "low").set(low)
        self._gate.labels(loop, policy, "high").set(high)
        self._e_value.labels(loop, policy).set(log_e)
        self._needed.labels(loop, policy).set(needed)


def _joined(part: Joined) -> float:
    return part.rewarded / part.matured if part.matured else math.nan
