"""What is told of loops."""

from prometheus_client import CollectorRegistry, generate_latest

from app.messages.pipeline import GatePoint
from app.observe.loop_metrics import LoopMetrics
from state.values.loop import Canary
from tests.unit.app.experiments.scene import healthy, joined

NOW, BEFORE = "2026-11-29T10:00:00Z", "2026-11-29T09:00:00Z"


def point(at: str = NOW, needed: int | None = 700) -> GatePoint:
    return GatePoint(at, "serves", -0.1, 0.3, 0.5, 9, needed)


def told(registry: CollectorRegistry) -> dict[str, float]:
    lines = (line.rsplit(" ", 1) for line in generate_latest(registry).decode().splitlines() if line[:1] != "#")
    return {name.removeprefix("oo_loop_"): float(value) for name, value in lines}


def test_what_judge_found() -> None:
    """Of the last day, and the gates of the last run: a challenger that has none any more is not known."""
    registry = CollectorRegistry()
    metrics = LoopMetrics(registry)
    gates = {"a": [point(BEFORE), point()], "b": [point(needed=None)], "c": [point(BEFORE)]}
    metrics.loop_health("tips", healthy(at=NOW, problems=["one", "two"], gates=gates))
    found = told(registry)
    for name, value in {
        'judged_timestamp_seconds{loop="tips"}': 1_795_946_400,
        'problems{loop="tips"}': 2,
        'rewarded_ratio{loop="tips",over="day"}': 0.5,
        'rewarded_ratio{loop="tips",over="week"}': 0.5,
        'reward_delay_seconds{loop="tips"}': 2,
        'reward_mean{loop="tips"}': 0.5,
        'gate{bound="low",loop="tips",policy="a"}': -0.1,
        'gate{bound="high",loop="tips",policy="a"}': 0.3,
        'log_e_value{loop="tips",policy="a"}': 0.5,
        'decisions_needed{loop="tips",policy="a"}': 700,
        'decisions_needed{loop="tips",policy="b"}': float("inf"),
    }.items():
        assert found[name] == value
    assert str(found['gate{bound="high",loop="tips",policy="c"}']) == "nan"
    metrics.loop_health("tips", healthy(day=joined(0, 0), delay_median=None, gates={}))
    found = told(registry)
    for name in (
        'rewarded_ratio{loop="tips",over="day"}',
        'reward_delay_seconds{loop="tips"}',
        'reward_mean{loop="tips"}',
        'log_e_value{loop="tips",policy="a"}',
        'decisions_needed{loop="tips",policy="b"}',
    ):
        assert str(found[name]) == "nan"
    assert found['rewarded_ratio{loop="tips",over="week"}'] == 0.5


def test_who_serves() -> None:
    """A canary that is none any more has no share."""
    registry = CollectorRegistry()
    metrics = LoopMetrics(registry)
    for number, canary in enumerate((None, Canary("a", 0.1), Canary("b", 0.2), None)):
        metrics.loop_state("tips", number, canary)
        found = {name: value for name, value in told(registry).items() if "{" in name}
        shares = {name[-3]: value for name, value in found.items() if name.startswith("canary_share") and value}
        assert shares == ({canary.policy: canary.share} if canary else {})
        assert found['state{loop="tips"}'] == number
