"""What is counted of decisions and their log."""

import time

from prometheus_client import CollectorRegistry, generate_latest

from app.observe.decision_metrics import DecisionMetrics


def test_counts() -> None:
    """Each once under its labels; loops and policies that are expected begin at 0, and Redis's clock is compared with
    ours."""
    registry = CollectorRegistry()
    found = DecisionMetrics(registry, ["p"], {"p": 0.25})
    found.expect_loops(["push"])
    found.entered("tips")
    found.ended("tips", "early")
    found.lacked("tips", ["hour", "price"])
    found.lacked("tips", ["hour"])
    found.decided("p", explored=True)
    found.decided("new", explored=False)
    found.became("tips", "applied")
    for reward in (0.5, 0.6, -1.0):
        found.rewarded("p", reward, replayed=False)
    found.rewarded("p", 1.0, replayed=True)
    found.personalizer_told("unknown")
    found.personalizer_matched(matched=True)
    found.taught_twice("p")
    found.published(3)
    found.lines_lost(2)
    found.backlog(5, 7)
    found.clock(round(time.time() * 1_000) + 90_000)
    for _ in range(2):
        found.settle_decisions()
    text = generate_latest(registry).decode()
    for line in (
        'oo_decisions_total{explored="true",policy="p"} 1.0',
        'oo_decisions_total{explored="false",policy="p"} 0.0',
        'oo_decisions_total{explored="false",policy="new"} 1.0',
        'oo_decisions_total{explored="true",policy="new"} 0.0',
        'oo_rewards_total{policy="p",value="0.5"} 2.0',
        'oo_rewards_total{policy="p",value="-1"} 1.0',
        'oo_rewards_total{policy="p",value="1"} 0.0',
        'oo_rewards_replayed_total{policy="p"} 1.0',
        'oo_decision_outcomes_total{loop="tips",outcome="applied"} 1.0',
        'oo_loop_decisions_total{loop="tips"} 1.0',
        'oo_loop_decisions_total{loop="push"} 0.0',
        'oo_decisions_ended_total{how="early",loop="tips"} 1.0',
        'oo_decisions_ended_total{how="dropped",loop="push"} 0.0',
        'oo_decision_outcomes_total{loop="push",outcome="applied"} 0.0',
        'oo_features_unread_total{feature="hour",loop="tips"} 2.0',
        'oo_personalizer_told_total{outcome="applied"} 0.0',
        'oo_personalizer_told_total{outcome="unknown"} 1.0',
        'oo_personalizer_matches_total{matched="true"} 1.0',
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
