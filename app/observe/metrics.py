"""What the service counts, for Prometheus. No user id, key or text is ever a label.

With several processes (WORKERS > 1) prometheus_client shares the numbers through files, as long as
PROMETHEUS_MULTIPROC_DIR is set before this module is imported; a scrape of any process then tells of all.
"""

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Final

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from app.messages.events import Happening
from app.messages.health import NatsHealth
from app.observe.processes import _SETTLE_SECONDS, _forget_the_dead, _Times, _Together
from state.update.transaction import Flush

__all__ = ["CONTENT_TYPE", "Metrics"]

# Litestar adds the charset.
CONTENT_TYPE: Final = CONTENT_TYPE_LATEST.partition("; charset=")[0]
_SECONDS: Final = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0, 2.5)
_LLM_SECONDS: Final = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 90.0)
_BATCHES: Final = (1, 2, 4, 8, 16, 32, 64)


# The rewards the clients know; any other number counts as the nearest of them.
_REWARDS: Final = ("-1", "-0.5", "0", "0.5", "1")


# Clients may send any word as a method, and each would be a time series.
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


# What a rule asks for must be there before it happens, or the first time goes unseen.
_FLUSH_ERRORS: Final = ("StoreUnavailable", "ConflictError", "StoreError")
_OUTCOMES: Final = ("ok", "cancelled", "LlmNotConfigured", "LlmUnavailable", "LlmFailed")
_HAPPENINGS: Final[tuple[Happening, ...]] = ("processed", "failed", "dead_lettered")


class Metrics:
    """All metrics of a process, in a registry of their own. It is what the observers of the other modules ask for.

    `policies` are counted by id; `epsilons` says of those that explore with what probability.
    """

    def __init__(self, version: str, policies: Sequence[str], epsilons: Mapping[str, float]) -> None:
        self._shared = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        registry = self._registry = CollectorRegistry()
        if not self._shared:
            ProcessCollector(registry=registry)
        self._requests = Histogram(
            "oo_http_request_seconds",
            "Requests by route template and status, and how long they took",
            ("method", "route", "status"),
            buckets=_SECONDS,
            registry=registry,
        )
        self._refused = Counter(
            "oo_http_requests_refused", "Requests answered 503 because too many were in hand", registry=registry
        )
        self._inside = Gauge(
            "oo_http_requests_inflight", "Requests in hand", multiprocess_mode="livesum", registry=registry
        )
        self._most = Gauge(
            "oo_http_requests_inflight_limit",
            "Requests in hand from which on others are refused",
            multiprocess_mode="livesum",
            registry=registry,
        )
        decisions = Counter("oo_decisions", "Decisions", ("policy", "explored"), registry=registry)
        rewards = Counter(
            "oo_rewards", "Rewards, by the nearest of the known values", ("policy", "value"), registry=registry
        )
        replayed = Counter(
            "oo_rewards_replayed", "Rewards whose idempotency key was known", ("policy",), registry=registry
        )
        epsilon = Gauge(
            "oo_policy_epsilon",
            "Probability with which a policy explores",
            ("policy",),
            multiprocess_mode="max",
            registry=registry,
        )
        batch = Histogram(
            "oo_store_batch_operations", "Operations of a transaction", buckets=_BATCHES, registry=registry
        )
        flush = Histogram("oo_store_flush_seconds", "Time from reading to commit", buckets=_SECONDS, registry=registry)
        self._conflicts = Counter(
            "oo_store_conflicts", "Transactions another writer was faster than", registry=registry
        )
        self._retries = Counter("oo_store_retries", "Transactions tried again after a failure", registry=registry)
        self._store_errors = Counter(
            "oo_store_errors",
            "Flushes that failed, ConflictError after too many lost races",
            ("error",),
            registry=registry,
        )
        self._events = Counter(
            "oo_events", "Deliveries of events by what became of them", ("consumer", "outcome"), registry=registry
        )
        self._pending = Gauge(
            "oo_events_pending",
            "Events in the stream that no replica was given yet",
            ("consumer",),
            multiprocess_mode="mostrecent",
            registry=registry,
        )
        self._running = Gauge(
            "oo_events_running",
            "Processes that are connected to NATS and take events",
            ("consumer",),
            multiprocess_mode="livesum",
            registry=registry,
        )
        self._generations = Counter("oo_llm_generations", "Generations by outcome", ("outcome",), registry=registry)
        self._tries = Counter("oo_llm_tries", "Calls to the language model", registry=registry)
        self._tokens = Counter("oo_llm_tokens", "Tokens by kind", ("kind",), registry=registry)
        self._llm_seconds = Histogram(
            "oo_llm_generation_seconds", "Time of a generation, all tries", buckets=_LLM_SECONDS, registry=registry
        )
        self._uncounted = Counter(
            "oo_rate_limit_unknown", "Requests let through because Redis could not count them", registry=registry
        )
        build = Gauge(
            "oo_build_info", "The version that runs", ("version",), multiprocess_mode="max", registry=registry
        )
        build.labels(version).set(1)
        # Looked up once, so that counting is one addition; and so there from the start, at 0.
        self._decisions = {
            policy: (decisions.labels(policy, "false"), decisions.labels(policy, "true")) for policy in policies
        }
        self._rewards = {policy: [rewards.labels(policy, value) for value in _REWARDS] for policy in policies}
        self._replayed = {policy: replayed.labels(policy) for policy in policies}
        for policy, value in epsilons.items():
            epsilon.labels(policy).set(value)
        for error in _FLUSH_ERRORS:
            self._store_errors.labels(error)
        for outcome in _OUTCOMES:
            self._generations.labels(outcome)
        for kind in ("prompt", "completion"):
            self._tokens.labels(kind)
        self._batch = _Times(batch, _BATCHES)
        self._flush = _Times(flush, _SECONDS)
        self._routes: dict[tuple[str, str, int], _Times] = {}
        self._nats: Callable[[], NatsHealth] | None = None
        self.inside = 0  # the gate's own count
        self.most = 0

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request by its route template, "" for a path that no route has."""
        times = self._routes.get((method, route, status)) or self._of(method, route, status)
        times.observe(seconds)

    def refused(self) -> None:
        """Count a request that was not let in."""
        self._refused.inc()

    def uncounted(self) -> None:
        """Count a request that the rate limit could not tell of."""
        self._uncounted.inc()

    def decided(self, policy: str, *, explored: bool) -> None:
        """Count a decision."""
        self._decisions[policy][explored].inc()

    def rewarded(self, policy: str, reward: float, *, replayed: bool) -> None:
        """Count a reward (-1..1) that was learned, or that was known."""
        (self._replayed[policy] if replayed else self._rewards[policy][round((reward + 1) * 2)]).inc()

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
        """Count what became of a delivery."""
        self._events.labels(consumer, happening).inc()

    def pending(self, consumer: str, events: int) -> None:
        """Note how many events wait in the streams."""
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
        """Let failures of POST to these routes be there at 0, for an increase is seen only of what was there before."""
        for route, status in product(routes, (500, 503)):
            self._of("POST", route, status)

    def watch(self, nats: Callable[[], NatsHealth]) -> None:
        """Ask `nats` with each scrape how the consumers are."""
        self._nats = nats
        for consumer in nats().consumers:
            for happening in _HAPPENINGS:
                self._events.labels(consumer, happening)

    async def keep_settled(self) -> None:
        """Let the other processes know what was counted here, until cancelled. Alone, a process has nobody to tell."""
        while self._shared:
            self._settle()
            await asyncio.sleep(_SETTLE_SECONDS)

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        self._settle()
        if not self._shared:
            return generate_latest(self._registry)
        directory = Path(self._shared)
        _forget_the_dead(directory)
        together = CollectorRegistry()
        together.register(_Together(directory))
        return generate_latest(together)

    def _of(self, method: str, route: str, status: int) -> _Times:
        key = (method if method in _METHODS else "other", route, status)
        if key not in self._routes:
            self._routes[key] = _Times(self._requests.labels(key[0], route or "(none)", str(status)), _SECONDS)
        return self._routes[key]

    def _settle(self) -> None:
        for times in (self._batch, self._flush, *self._routes.values()):
            times.settle()
        self._inside.set(self.inside)
        self._most.set(self.most)
        for name, consumer in (self._nats().consumers if self._nats else {}).items():
            self._running.labels(name).set(consumer.state == "running")
