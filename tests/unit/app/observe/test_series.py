"""The table of metrics: their names are what dashboards and rules ask for."""

from prometheus_client import CollectorRegistry, Gauge

from app.observe import series
from app.observe.series import Count, Distribution, Level

ROWS = [row for row in vars(series).values() if isinstance(row, Count | Level | Distribution)]


def test_names() -> None:
    """No metric is renamed by accident, and each has a help text of its own."""
    assert sorted(row.name for row in ROWS) == [
        "oo_build_info",
        "oo_decision_outcomes",
        "oo_decisions",
        "oo_decisions_ended",
        "oo_events",
        "oo_events_pending",
        "oo_events_running",
        "oo_features_unread",
        "oo_http_request_seconds",
        "oo_http_requests_inflight",
        "oo_http_requests_inflight_limit",
        "oo_http_requests_refused",
        "oo_llm_generation_seconds",
        "oo_llm_generations",
        "oo_llm_tokens",
        "oo_llm_tries",
        "oo_log_backlog_bytes",
        "oo_log_lines",
        "oo_log_lines_lost",
        "oo_loop_decisions",
        "oo_personalizer_matches",
        "oo_personalizer_told",
        "oo_policy_epsilon",
        "oo_rate_limit_unknown",
        "oo_redis_clock_skew_seconds",
        "oo_redis_memory_bytes",
        "oo_rewards",
        "oo_rewards_replayed",
        "oo_store_batch_operations",
        "oo_store_conflicts",
        "oo_store_errors",
        "oo_store_flush_seconds",
        "oo_store_retries",
        "oo_taught_twice",
    ]
    assert len({row.help for row in ROWS}) == len(ROWS)


def test_what_is_made_is_what_the_row_says() -> None:
    """A row makes a metric of its kind, with its labels, in the given registry, and no other label exists."""
    registry = CollectorRegistry()
    for row in ROWS:
        made = row.made(registry)
        assert (made._name, made._documentation, made._labelnames) == (row.name, row.help, row.labels)
        if isinstance(row, Level):
            assert isinstance(made, Gauge)
            assert made._multiprocess_mode == row.together
        assert set(row.labels) <= {
            "method", "route", "status", "policy", "explored", "value",
            "error", "consumer", "outcome", "kind", "version", "loop", "how", "feature", "matched",
        }  # fmt: skip
    assert {metric.name for metric in registry.collect()} == {row.name for row in ROWS}
