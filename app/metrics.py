"""What the service counts, for Prometheus. No user id, key or text is ever a label.

With several processes (WORKERS > 1) prometheus_client shares the numbers through files, as long as
PROMETHEUS_MULTIPROC_DIR is set before this module is imported; a scrape of any process then tells of all.
"""

import hmac
import os
from collections.abc import Sequence
from typing import Any, Final

from litestar import Request, Response, get
from litestar.exceptions import NotAuthorizedException
from litestar.handlers import HTTPRouteHandler
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

from app.settings import Secret
from state.store import Flush

__all__ = ["Metrics", "metrics_routes"]

_SECONDS: Final = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0, 2.5)
_LLM_SECONDS: Final = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 90.0)
_BATCHES: Final = (1, 2, 4, 8, 16, 32, 64)
# The rewards the clients know; any other number counts as the nearest of them.
_REWARDS: Final = ("-1", "-0.5", "0", "0.5", "1")


class Metrics:
    """All metrics of a process, in a registry of their own."""

    def __init__(self, version: str, policies: Sequence[str]) -> None:
        registry = self.registry = CollectorRegistry()
        self.requests = Histogram(
            "oo_http_request_seconds",
            "Requests by route template and status, and how long they took",
            ("method", "route", "status"),
            buckets=_SECONDS,
            registry=registry,
        )
        decisions = Counter("oo_decisions", "Decisions", ("policy", "explored"), registry=registry)
        rewards = Counter(
            "oo_rewards", "Rewards, by the nearest of the known values", ("policy", "value"), registry=registry
        )
        replayed = Counter(
            "oo_rewards_replayed", "Rewards whose idempotency key was known", ("policy",), registry=registry
        )
        self.batch = Histogram(
            "oo_store_batch_operations", "Operations of a transaction", buckets=_BATCHES, registry=registry
        )
        self.flush = Histogram(
            "oo_store_flush_seconds", "Time from reading to commit", buckets=_SECONDS, registry=registry
        )
        self.conflicts = Counter("oo_store_conflicts", "Transactions another writer was faster than", registry=registry)
        self.retries = Counter("oo_store_retries", "Transactions tried again after a failure", registry=registry)
        self.store_errors = Counter(
            "oo_store_errors",
            "Flushes that failed, ConflictError after too many lost races",
            ("error",),
            registry=registry,
        )
        self.events = Counter("oo_events", "Events by what became of them", ("consumer", "outcome"), registry=registry)
        self.lag = Gauge(
            "oo_events_pending",
            "Events in the stream that no replica has handled",
            ("consumer",),
            multiprocess_mode="mostrecent",
            registry=registry,
        )
        self.llm_calls = Counter("oo_llm_generations", "Generations by outcome", ("outcome",), registry=registry)
        self.llm_tries = Counter("oo_llm_tries", "Calls to the language model", registry=registry)
        self.llm_tokens = Counter("oo_llm_tokens", "Tokens by kind", ("kind",), registry=registry)
        self.llm_seconds = Histogram(
            "oo_llm_generation_seconds", "Time of a generation", buckets=_LLM_SECONDS, registry=registry
        )
        self.unlimited = Counter(
            "oo_rate_limit_unknown", "Requests let through because Redis could not count them", registry=registry
        )
        Gauge(
            "oo_build_info", "The version that runs", ("version",), multiprocess_mode="max", registry=registry
        ).labels(version).set(1)
        # Looked up once, so that counting is one addition.
        self._decisions = {
            (policy, explored): decisions.labels(policy, str(explored).lower())
            for policy in policies
            for explored in (False, True)
        }
        self._rewards = {policy: [rewards.labels(policy, value) for value in _REWARDS] for policy in policies}
        self._replayed = {policy: replayed.labels(policy) for policy in policies}
        self._requests: dict[tuple[str, str, int], Any] = {}

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request by its route template."""
        key = (method, route, status)
        found = self._requests.get(key)
        if found is None:
            found = self._requests[key] = self.requests.labels(method, route, str(status))
        found.observe(seconds)

    def decided(self, policy: str, *, explored: bool) -> None:
        """Count a decision."""
        self._decisions[policy, explored].inc()

    def rewarded(self, policy: str, reward: float, *, replayed: bool) -> None:
        """Count a reward (-1..1) that was learned, or that was known."""
        (self._replayed[policy] if replayed else self._rewards[policy][round((reward + 1) * 2)]).inc()

    def flushed(self, flush: Flush) -> None:
        """Count a flush of the store."""
        self.batch.observe(flush.operations)
        self.flush.observe(flush.seconds)
        if flush.conflicts:
            self.conflicts.inc(flush.conflicts)
        if flush.failures:
            self.retries.inc(flush.failures)
        if flush.error is not None:
            self.store_errors.labels(flush.error).inc()

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self.registry)
        together = CollectorRegistry()
        multiprocess.MultiProcessCollector(together)  # type: ignore[no-untyped-call]  # prometheus_client
        return generate_latest(together)


def metrics_routes(metrics: Metrics, key: Secret) -> list[HTTPRouteHandler]:
    """GET /metrics, for whoever has `key` if there is one."""
    wanted = f"Bearer {key.reveal()}".encode()

    @get("/metrics", sync_to_thread=False)
    def scrape(request: Request[Any, Any, Any]) -> Response[bytes]:
        if key and not hmac.compare_digest(request.headers.get("authorization", "").encode(), wanted):
            raise NotAuthorizedException(
                "METRICS_KEY is needed as a bearer token", headers={"WWW-Authenticate": "Bearer"}
            )
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    return [scrape]
