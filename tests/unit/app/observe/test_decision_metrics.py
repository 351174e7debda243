"""What is counted of decisions and their log."""

import time

from prometheus_client import CollectorRegistry, generate_latest

from app.observe.decision_metrics import DecisionMetrics


def test_counts() -> None:
    """Each under its labels; loops that are expected begin at 0, and Redis's clock is compared with ours."""
    registry = CollectorRegistry()
    found = DecisionMetrics(registry, ["p"], {"p": 0.25})
    found.expect_loops(["push"])
    found.entered("tips")
    found.ended("tips", "early")
    found.lacked("tips", ["hour", "price"])
    found.lacked("tips", ["hour"])
    found.settle_lacking()
    found.taught_twice("p")
    found.published(3)
    found.lines_lost(2)
    found.backlog(5, 7)
    found.clock(round(time.time() * 1_000) + 90_000)
    text = generate_latest(registry).decode()
    for line in (
        'oo_loop_decisions_total{loop="tips"} 1.0',
        'oo_loop_decisions_total{loop="push"} 0.0',
        'oo_decisions_ended_total{how="early",loop="tips"} 1.0',
        'oo_decisions_ended_total{how="dropped",loop="push"} 0.0',
        'oo_decision_outcomes_total{loop="push",outcome="applied"} 0.0',
        'oo_features_unread_total{feature="hour",loop="tips"} 2.0',
        'oo_taught_twice_total{policy="p"} 1.0',
        "oo_log_lines_total 3.0",
        "oo_log_lines_lost_total 2.0",
        'oo_log_backlog_bytes{kind="used"} 5.0',
        'oo_log_backlog_bytes{kind="limit"} 7.0',
        'oo_policy_epsilon{policy="p"} 0.25',
    ):
        assert f"{line}\n" in text
    [skew] = [line for line in text.splitlines() if line.startswith("oo_redis_clock_skew_seconds ")]
    assert 80 < float(skew.split()[1]) < 91
