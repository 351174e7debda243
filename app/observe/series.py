"""The metrics, one row each, by area: name, help text, labels, and buckets or how several processes are combined.

No user id, key or text is ever a label.
"""

from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from app.messages.events import Happening

__all__ = [
    "BATCH",
    "BATCHES",
    "BUILD",
    "CLOCK_SKEW",
    "CONFLICTS",
    "DECISIONS",
    "DECISIONS_ENDED",
    "DECISION_OUTCOMES",
    "ENDS",
    "EPSILON",
    "EVENTS",
    "FLUSH",
    "FLUSH_ERRORS",
    "GENERATIONS",
    "GENERATION_SECONDS",
    "HAPPENINGS",
    "INSIDE",
    "LACKED",
    "LOG_BACKLOG",
    "LOG_LINES",
    "LOG_LOST",
    "LOOP_DECISIONS",
    "MATCHES",
    "METHODS",
    "MOST",
    "OUTCOMES",
    "PENDING",
    "PERSONALIZER",
    "REDIS_MEMORY",
    "REFUSED",
    "REPLAYED",
    "REQUESTS",
    "RETRIES",
    "REWARDS",
    "REWARD_VALUES",
    "RUNNING",
    "SECONDS",
    "STORE_ERRORS",
    "TOKENS",
    "TOKEN_KINDS",
    "TRIES",
    "TWICE",
    "UNCOUNTED",
]

SECONDS: Final = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0, 2.5)
_LLM_SECONDS: Final = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 90.0)
BATCHES: Final = (1, 2, 4, 8, 16, 32, 64)


class Count(NamedTuple):
    """A counter; Prometheus adds `_total` to its name."""

    name: str
    help: str
    labels: tuple[str, ...] = ()

    def made(self, registry: CollectorRegistry) -> Counter:
        return Counter(self.name, self.help, self.labels, registry=registry)


class Level(NamedTuple):
    """A gauge; `together` says what several processes make of it: the sum of those alive, the largest, the newest."""

    name: str
    help: str
    together: Literal["livesum", "max", "mostrecent"]
    labels: tuple[str, ...] = ()

    def made(self, registry: CollectorRegistry) -> Gauge:
        return Gauge(self.name, self.help, self.labels, multiprocess_mode=self.together, registry=registry)


class Distribution(NamedTuple):
    """A histogram with these upper bounds of its buckets."""

    name: str
    help: str
    bounds: Sequence[float]
    labels: tuple[str, ...] = ()

    def made(self, registry: CollectorRegistry) -> Histogram:
        bounds: Any = self.bounds  # typed as a sequence of float or str, which a sequence of float is not
        return Histogram(self.name, self.help, self.labels, buckets=bounds, registry=registry)


# HTTP

REQUESTS: Final = Distribution(
    "oo_http_request_seconds",
    "Duration of requests, by route template and status",
    SECONDS,
    ("method", "route", "status"),
)
REFUSED: Final = Count("oo_http_requests_refused", "Requests answered 503 because too many were in flight")
INSIDE: Final = Level("oo_http_requests_inflight", "Requests in flight", "livesum")
MOST: Final = Level("oo_http_requests_inflight_limit", "Requests in flight from which on others are refused", "livesum")
UNCOUNTED: Final = Count("oo_rate_limit_unknown", "Requests let through because Redis could not count them")

# Clients may send any word as a method, and each would be a series.
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

# Decisions and rewards

DECISIONS: Final = Count("oo_decisions", "Decisions", ("policy", "explored"))
REWARDS: Final = Count("oo_rewards", "Rewards, by the nearest of the known values", ("policy", "value"))
REPLAYED: Final = Count("oo_rewards_replayed", "Rewards whose idempotency key was known", ("policy",))
DECISION_OUTCOMES: Final = Count(
    "oo_decision_outcomes", "What was told of decisions, and what became of it", ("loop", "outcome")
)
LOOP_DECISIONS: Final = Count("oo_loop_decisions", "Decisions with an id", ("loop",))
DECISIONS_ENDED: Final = Count(
    "oo_decisions_ended", "Decisions that ended without an outcome, and those that made room", ("loop", "how")
)
TWICE: Final = Count(
    "oo_taught_twice", "Users who taught a policy by ids and by the first system's rewards within a day", ("policy",)
)
LACKED: Final = Count(
    "oo_features_unread", "Decisions in which a feature had no value that can be read", ("loop", "feature")
)
PERSONALIZER: Final = Count(
    "oo_personalizer_told",
    "Rewards and activations of Azure Personalizer's clients, by what became of them",
    ("outcome",),
)
MATCHES: Final = Count(
    "oo_personalizer_matches",
    "Decisions of an apprentice of Azure Personalizer's clients, by whether it would have made the same",
    ("matched",),
)
EPSILON: Final = Level("oo_policy_epsilon", "Probability with which a policy explores", "max", ("policy",))

# How a decision ends without an outcome, and how it makes room.
ENDS: Final = ("default", "void", "early", "dropped")

# The rewards that clients send; any other number counts as the nearest of them.
REWARD_VALUES: Final = ("-1", "-0.5", "0", "0.5", "1")

# The log of decisions

LOG_LINES: Final = Count("oo_log_lines", "Lines of the log that are safe where it is kept")
LOG_LOST: Final = Count("oo_log_lines_lost", "Lines of the log that were dropped because too many waited in Redis")
LOG_BACKLOG: Final = Level(
    "oo_log_backlog_bytes", "The log that waits in Redis to be published: used, and its limit", "mostrecent", ("kind",)
)

# The store

BATCH: Final = Distribution("oo_store_batch_operations", "Operations in a transaction", BATCHES)
FLUSH: Final = Distribution("oo_store_flush_seconds", "Time from reading to commit", SECONDS)
CONFLICTS: Final = Count("oo_store_conflicts", "Transactions that lost the race against another writer")
RETRIES: Final = Count("oo_store_retries", "Transactions tried again after a failure")
STORE_ERRORS: Final = Count(
    "oo_store_errors", "Flushes that failed; ConflictError after too many lost races", ("error",)
)

CLOCK_SKEW: Final = Level(
    "oo_redis_clock_skew_seconds",
    "Redis's clock less that of the replica, at the last decision or outcome",
    "mostrecent",
)
REDIS_MEMORY: Final = Level(
    "oo_redis_memory_bytes",
    "Memory of the Redis master that uses most: used, and its limit or 0",
    "mostrecent",
    ("kind",),
)

# Events

EVENTS: Final = Count("oo_events", "Deliveries of events, by outcome", ("consumer", "outcome"))
PENDING: Final = Level(
    "oo_events_pending", "Events in the stream that no replica has been given yet", "mostrecent", ("consumer",)
)
RUNNING: Final = Level(
    "oo_events_running", "Processes that are connected to NATS and take events", "livesum", ("consumer",)
)

# The language model

GENERATIONS: Final = Count("oo_llm_generations", "Generations, by outcome", ("outcome",))
TRIES: Final = Count("oo_llm_tries", "Calls to the language model")
TOKENS: Final = Count("oo_llm_tokens", "Tokens, by kind", ("kind",))
GENERATION_SECONDS: Final = Distribution(
    "oo_llm_generation_seconds", "Duration of a generation, all tries included", _LLM_SECONDS
)

# The process

BUILD: Final = Level("oo_build_info", "The version that runs", "max", ("version",))

# Values of labels whose series are created at 0, or increase() misses the first event.
FLUSH_ERRORS: Final = ("StoreUnavailable", "ConflictError", "StoreError")
OUTCOMES: Final = ("ok", "cancelled", "LlmNotConfigured", "LlmUnavailable", "LlmFailed")
TOKEN_KINDS: Final = ("prompt", "completion")
HAPPENINGS: Final[tuple[Happening, ...]] = ("processed", "failed", "dead_lettered")
