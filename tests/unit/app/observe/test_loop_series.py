"""The table of the metrics of loops."""

from prometheus_client import CollectorRegistry

from app.observe import loop_series
from app.observe.series import Level

ROWS = [row for row in vars(loop_series).values() if isinstance(row, Level)]


def test_names() -> None:
    """No metric is renamed by accident, each has a help text of its own, and labels that are names of the file."""
    assert sorted(row.name for row in ROWS) == [
        "oo_loop_canary_share",
        "oo_loop_decisions_needed",
        "oo_loop_gate",
        "oo_loop_judged_timestamp_seconds",
        "oo_loop_log_e_value",
        "oo_loop_problems",
        "oo_loop_reward_delay_seconds",
        "oo_loop_reward_mean",
        "oo_loop_rewarded_ratio",
        "oo_loop_state",
    ]
    assert len({row.help for row in ROWS}) == len(ROWS)
    registry = CollectorRegistry()
    for row in ROWS:
        row.made(registry)
        assert set(row.labels) <= {"loop", "policy", "over", "bound"}
    assert {metric.name for metric in registry.collect()} == {row.name for row in ROWS}
