"""What is counted of decisions, rewards and their log."""

import time
from collections import Counter as Counts
from collections.abc import Iterable, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter

from app.observe import series
from app.observe.loop_metrics import LoopMetrics

__all__ = ["DecisionMetrics"]


class DecisionMetrics(LoopMetrics):
    """Metrics in `registry` of decisions by `policies`, of which some explore with the probabilities `epsilons`."""

    def __init__(self, registry: CollectorRegistry, policies: Sequence[str], epsilons: Mapping[str, float]) -> None:
        super().__init__(registry)
        decisions = series.DECISIONS.made(registry)
        rewards = series.REWARDS.made(registry)
        replayed = series.REPLAYED.made(registry)
        epsilon = series.EPSILON.made(registry)
        self._outcomes = series.DECISION_OUTCOMES.made(registry)
        self._entered = series.LOOP_DECISIONS.made(registry)
        self._personalizer = series.PERSONALIZER.made(registry)
        for outcome in ("applied", "unknown"):
            self._personalizer.labels(outcome)
        matches = series.MATCHES.made(registry)
        self._matches = {matched: matches.labels(str(matched).lower()) for matched in (False, True)}
        self._ended = series.DECISIONS_ENDED.made(registry)
        self._every_decision = decisions
        self._skew = series.CLOCK_SKEW.made(registry)
        self._twice = series.TWICE.made(registry)
        self._log_lines = series.LOG_LINES.made(registry)
        self._log_lost = series.LOG_LOST.made(registry)
        self._log_backlog = series.LOG_BACKLOG.made(registry)
        self._lacked = series.LACKED.made(registry)
        self._lacking: Counts[tuple[str, str]] = Counts()  # since they were settled last
        # Looked up once, so that counting is one addition. It also creates each series at 0.
        self._decisions = {policy: _either(decisions, policy) for policy in policies}
        self._rewards = {
            policy: [rewards.labels(policy, value) for value in series.REWARD_VALUES] for policy in policies
        }
        self._replayed = {policy: replayed.labels(policy) for policy in policies}
        for policy, value in epsilons.items():
            epsilon.labels(policy).set(value)

    def decided(self, policy: str, *, explored: bool) -> None:
        """Count a decision."""
        counters = self._decisions.get(policy)
        if counters is None:  # of a policy file that was read after the start
            counters = self._decisions[policy] = _either(self._every_decision, policy)
        counters[explored].inc()

    def entered(self, loop: str) -> None:
        """Count a decision with an id."""
        self._entered.labels(loop).inc()

    def ended(self, loop: str, how: str) -> None:
        """Count a decision that ended without an outcome, or made room."""
        self._ended.labels(loop, how).inc()

    def clock(self, at: int) -> None:
        """Note what Redis's clock said (ms) a moment ago."""
        self._skew.set(at / 1_000 - time.time())

    def lacked(self, loop: str, features: Iterable[str]) -> None:
        """Count the features that had no value in a decision."""
        self._lacking.update((loop, feature) for feature in features)

    def settle_lacking(self) -> None:
        """Count what was noted by `lacked`."""
        lacking, self._lacking = self._lacking, Counts()
        for labels, count in lacking.items():
            self._lacked.labels(*labels).inc(count)

    def published(self, lines: int) -> None:
        """Count lines of the log that are safe where it is kept."""
        self._log_lines.inc(lines)

    def lines_lost(self, lines: int) -> None:
        """Count lines that were dropped because too many waited."""
        self._log_lost.inc(lines)

    def backlog(self, used: int, most: int) -> None:
        """Note how many bytes of the log wait in Redis, and how many may."""
        self._log_backlog.labels("used").set(used)
        self._log_backlog.labels("limit").set(most)

    def taught_twice(self, policy: str) -> None:
        """Count a user who taught a policy in both ways within a day."""
        self._twice.labels(policy).inc()

    def became(self, loop: str, outcome: str) -> None:
        """Count what became of what was told of a decision."""
        self._outcomes.labels(loop, outcome).inc()

    def personalizer_told(self, outcome: str) -> None:
        """Count what Azure Personalizer's clients told of an event."""
        self._personalizer.labels(outcome).inc()

    def personalizer_matched(self, *, matched: bool) -> None:
        """Count a decision of an apprentice."""
        self._matches[matched].inc()

    def rewarded(self, policy: str, reward: float, *, replayed: bool) -> None:
        """Count a reward (-1..1) that was learned, or replayed."""
        (self._replayed[policy] if replayed else self._rewards[policy][round((reward + 1) * 2)]).inc()

    def expect_loops(self, loops: Iterable[str]) -> None:
        """Create the counts of the decisions of these loops at 0, or increase() misses the first of each."""
        for loop in loops:
            self._entered.labels(loop)
            self.loop_state(loop, 0)
            self._outcomes.labels(loop, "applied")
            for how in series.ENDS:
                self._ended.labels(loop, how)


def _either(decisions: Counter, policy: str) -> tuple[Counter, Counter]:
    """The counters of a policy's decisions that did not explore, and that did."""
    return decisions.labels(policy, "false"), decisions.labels(policy, "true")
