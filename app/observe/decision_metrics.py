"""What is counted of decisions, rewards and their log."""

import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import product

from prometheus_client import CollectorRegistry

from app.observe import series
from app.observe.loop_metrics import LoopMetrics
from app.observe.processes import Tally

__all__ = ["DecisionMetrics"]

_EITHER = ("false", "true")


class DecisionMetrics(LoopMetrics):
    """Metrics in `registry` of decisions by `policies`, of which some explore with the probabilities `epsilons`.

    What each request counts is handed to `registry` by `settle_decisions` only.
    """

    def __init__(self, registry: CollectorRegistry, policies: Sequence[str], epsilons: Mapping[str, float]) -> None:
        super().__init__(registry)
        self._decided = Tally(series.DECISIONS.made(registry))
        self._rewarded = Tally(series.REWARDS.made(registry))
        self._replayed = Tally(series.REPLAYED.made(registry))
        epsilon = series.EPSILON.made(registry)
        self._outcomes = Tally(series.DECISION_OUTCOMES.made(registry))
        self._entered = Tally(series.LOOP_DECISIONS.made(registry))
        self._lacked = Tally(series.LACKED.made(registry))
        self._ended = Tally(series.DECISIONS_ENDED.made(registry))
        self._personalizer = Tally(series.PERSONALIZER.made(registry))
        for outcome in ("applied", "unknown"):
            self._personalizer.expect(outcome)
        matches = series.MATCHES.made(registry)
        self._matches = {matched: matches.labels(_EITHER[matched]) for matched in (False, True)}
        self._skew = series.CLOCK_SKEW.made(registry)
        self._skewed: float | None = None  # seconds, if Redis's clock was read since the last time
        self._twice = series.TWICE.made(registry)
        self._log_lines = series.LOG_LINES.made(registry)
        self._log_lost = series.LOG_LOST.made(registry)
        self._log_backlog = series.LOG_BACKLOG.made(registry)
        for policy, explored in product(policies, _EITHER):
            self._decided.expect(policy, explored)
        for policy, reward in product(policies, series.REWARD_VALUES):
            self._rewarded.expect(policy, reward)
        for policy in policies:
            self._replayed.expect(policy)
        for policy, value in epsilons.items():
            epsilon.labels(policy).set(value)

    def settle_decisions(self) -> None:
        """Hand on what was counted of each request since the last time."""
        # Of a policy file that was read after the start, too: the share that explores is a quotient of both series.
        for policy, explored in product({policy for policy, _ in self._decided.counts}, _EITHER):
            self._decided.expect(policy, explored)
        tallies = (self._decided, self._rewarded, self._replayed, self._outcomes, self._entered, self._lacked)
        for tally in (*tallies, self._ended, self._personalizer):
            tally.settle()
        if self._skewed is not None:
            self._skew.set(self._skewed)
            self._skewed = None

    def decided(self, policy: str, *, explored: bool) -> None:
        """Count a decision."""
        self._decided.counts[policy, _EITHER[explored]] += 1

    def entered(self, loop: str) -> None:
        """Count a decision with an id."""
        self._entered.counts[(loop,)] += 1

    def ended(self, loop: str, how: str) -> None:
        """Count a decision that ended without an outcome, or made room."""
        self._ended.counts[loop, how] += 1

    def clock(self, at: int) -> None:
        """Note what Redis's clock said (ms) a moment ago."""
        self._skewed = at / 1_000 - time.time()

    def lacked(self, loop: str, features: Iterable[str]) -> None:
        """Count the features that had no value in a decision."""
        for feature in features:
            self._lacked.counts[loop, feature] += 1

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
        """Count what a client told of a decision, by its outcome."""
        self._outcomes.counts[loop, outcome] += 1

    def personalizer_told(self, outcome: str) -> None:
        """Count what a client of Azure Personalizer told of an event, by its outcome."""
        self._personalizer.counts[(outcome,)] += 1

    def personalizer_matched(self, *, matched: bool) -> None:
        """Count a decision of an apprentice."""
        self._matches[matched].inc()

    def rewarded(self, policy: str, reward: float, *, replayed: bool) -> None:
        """Count a reward (-1..1) that was learned, or replayed."""
        if replayed:
            self._replayed.counts[(policy,)] += 1
        else:
            self._rewarded.counts[policy, series.REWARD_VALUES[round((reward + 1) * 2)]] += 1

    def expect_loops(self, loops: Iterable[str]) -> None:
        """Create the counts of the decisions of these loops at 0, or increase() misses the first of each."""
        for loop in loops:
            self._entered.expect(loop)
            self.loop_state(loop, 0)
            self._outcomes.expect(loop, "applied")
            for how in series.ENDS:
                self._ended.expect(loop, how)
