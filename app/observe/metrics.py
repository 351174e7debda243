"""What the service counts, for Prometheus. `app.observe.series` names and describes each metric.

With several processes (WORKERS > 1) prometheus_client shares the numbers through files, provided that
PROMETHEUS_MULTIPROC_DIR is set before it is imported; a scrape of any process then covers all of them.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest

from app.messages.events import Happening
from app.messages.health import NatsHealth
from app.observe import series
from app.observe.decision_metrics import DecisionMetrics
from app.observe.processes import SETTLE_SECONDS, Tally, Times, Together, forget_the_dead
from state.update.operation import Flush

__all__ = ["CONTENT_TYPE", "Metrics"]

# Litestar adds the charset.
CONTENT_TYPE: Final = CONTENT_TYPE_LATEST.partition("; charset=")[0]


class Metrics(DecisionMetrics):
    """All metrics of a process, in a registry of their own. It implements the observers of the other modules.

    `policies` are the ids that decisions are counted under; `epsilons` are the probabilities of those that explore.
    `shared` is the directory in which several processes keep their numbers, None for a process alone.
    """

    def __init__(
        self, version: str, policies: Sequence[str], epsilons: Mapping[str, float], *, shared: str | None = None
    ) -> None:
        self._shared = shared
        registry = self._registry = CollectorRegistry()
        if not shared:
            ProcessCollector(registry=registry)
        self._nats: Callable[[], NatsHealth] | None = None
        self._count_http(registry)
        super().__init__(registry, policies, epsilons)
        self._count_store(registry)
        self._count_events(registry)
        self._count_generations(registry)
        series.BUILD.made(registry).labels(version).set(1)

    def _count_http(self, registry: CollectorRegistry) -> None:
        self._requests = series.REQUESTS.made(registry)
        self._routes: dict[tuple[str, str, int], Times] = {}
        self._refused = series.REFUSED.made(registry)
        self._uncounted = series.UNCOUNTED.made(registry)
        self._inside = series.INSIDE.made(registry)
        self._most = series.MOST.made(registry)
        self.inside = 0  # the gate counts in these two
        self.most = 0

    def _count_store(self, registry: CollectorRegistry) -> None:
        self._batch = Times(series.BATCH.made(registry), series.BATCH.bounds)
        self._flush = Times(series.FLUSH.made(registry), series.FLUSH.bounds)
        self._conflicts = series.CONFLICTS.made(registry)
        self._retries = series.RETRIES.made(registry)
        self._store_errors = series.STORE_ERRORS.made(registry)
        for error in series.FLUSH_ERRORS:
            self._store_errors.labels(error)

    def _count_events(self, registry: CollectorRegistry) -> None:
        self._events = Tally(series.EVENTS.made(registry))
        self._pending = series.PENDING.made(registry)
        self._running = series.RUNNING.made(registry)
        self._redis_memory = series.REDIS_MEMORY.made(registry)

    def _count_generations(self, registry: CollectorRegistry) -> None:
        self._generations = series.GENERATIONS.made(registry)
        self._tries = series.TRIES.made(registry)
        self._tokens = series.TOKENS.made(registry)
        self._llm_seconds = series.GENERATION_SECONDS.made(registry)
        for outcome in series.OUTCOMES:
            self._generations.labels(outcome)
        for kind in series.TOKEN_KINDS:
            self._tokens.labels(kind)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request by its route template, or "" if no route has its path."""
        times = self._routes.get((method, route, status)) or self._of(method, route, status)
        times.observe(seconds)

    def refused(self) -> None:
        """Count a request that was refused because too many were in flight."""
        self._refused.inc()

    def uncounted(self) -> None:
        """Count a request that the rate limit could not check."""
        self._uncounted.inc()

    def flushed(self, flush: Flush) -> None:
        """Count a flush of the store."""
        self._batch.observe(flush.operations)
        self._flush.observe(flush.seconds)
        if flush.conflicts:
            self._conflicts.inc(flush.conflicts)
        if flush.failures:
            self._retries.inc(flush.failures)
        if flush.error is not None:
            self._store_errors.labels(flush.error).inc()

    def event(self, consumer: str, happening: Happening) -> None:
        """Count a delivery by its outcome."""
        self._events.counts[consumer, happening] += 1

    def pending(self, consumer: str, events: int) -> None:
        """Note how many events wait in the stream."""
        self._pending.labels(consumer).set(events)

    def generated(
        self, outcome: str, *, tries: int, prompt_tokens: int, completion_tokens: int, seconds: float
    ) -> None:
        """Count a generation: "ok", "cancelled" or the name of an LlmError."""
        self._generations.labels(outcome).inc()
        self._tries.inc(tries)
        self._tokens.labels("prompt").inc(prompt_tokens)
        self._tokens.labels("completion").inc(completion_tokens)
        self._llm_seconds.observe(seconds)

    def expect(self, routes: Iterable[str]) -> None:
        """Create the failures of POST to these routes at 0, or increase() misses the first of each."""
        for route, status in product(routes, (500, 503)):
            self._of("POST", route, status)

    def watch(self, nats: Callable[[], NatsHealth]) -> None:
        """Read the consumers' state from `nats` at each scrape."""
        self._nats = nats
        for consumer in nats().consumers:
            for happening in series.HAPPENINGS:
                self._events.expect(consumer, happening)

    def redis_memory(self, used: int, limit: int) -> None:
        """Note the bytes that Redis uses, and how many it may use (0: any number)."""
        self._redis_memory.labels("used").set(used)
        self._redis_memory.labels("limit").set(limit)

    async def keep_settled(self) -> None:
        """Share the numbers of this process with the others, until cancelled. A process alone returns at once."""
        while self._shared:
            self.settle()
            await asyncio.sleep(SETTLE_SECONDS)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        self.settle()
        if not self._shared:
            return generate_latest(self._registry)
        directory = Path(self._shared)
        forget_the_dead(directory)
        together = CollectorRegistry()
        together.register(Together(directory))
        return generate_latest(together)

    def _of(self, method: str, route: str, status: int) -> Times:
        key = (method if method in series.METHODS else "other", route, status)
        if key not in self._routes:
            self._routes[key] = Times(self._requests.labels(key[0], route or "(none)", str(status)), series.SECONDS)
        return self._routes[key]

    def settle(self) -> None:
        """Hand on what was counted in plain numbers since the last time."""
        for times in (self._batch, self._flush, *self._routes.values()):
            times.settle()
        self._events.settle()
        self.settle_decisions()
        self._inside.set(self.inside)
        self._most.set(self.most)
        for name, consumer in (self._nats().consumers if self._nats else {}).items():
            self._running.labels(name).set(consumer.state == "running")
