"""Numbers that several processes share through files, and cheap observations."""

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from app.observe.processes import Tally, Times, Together, forget_the_dead


def test_gauges_of_ended_processes_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gauges of a process stay if the system forbids to ask for it, and go if there is no such process."""
    answers = {1: PermissionError, 2: ProcessLookupError}

    def kill(pid: int, _: int) -> None:
        raise answers[pid]

    monkeypatch.setattr("app.observe.processes.os.kill", kill)
    for pid in answers:
        (tmp_path / f"gauge_livesum_{pid}.db").touch()
    forget_the_dead(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["gauge_livesum_1.db"]


def test_events_are_handed_on_once() -> None:
    """Under their labels, and those that are expected from 0 on; an event is counted when it is settled."""
    registry = CollectorRegistry()
    tally = Tally(Counter("x", "x", ("a", "b"), registry=registry))
    tally.expect("1", "2")
    tally.counts["1", "1"] += 2

    def counted() -> dict[str, float]:
        [metric] = registry.collect()
        return {"".join(one.labels.values()): one.value for one in metric.samples if one.name == "x_total"}

    assert counted() == {"12": 0}
    for _ in range(2):
        tally.settle()
        assert counted() == {"12": 0, "11": 2}
    tally.counts["1", "1"] += 1
    tally.settle()
    assert counted() == {"12": 0, "11": 3}


def test_observations_are_those_of_prometheus() -> None:
    """What `Times` settles is what the histogram itself would have counted, once."""
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    times = Times(Histogram("x", "x", buckets=(1, 2), registry=ours), (1, 2))
    histogram = Histogram("x", "x", buckets=(1, 2), registry=theirs)
    for value in (0.5, 1, 1.5, 2, 3, 3):
        times.observe(value)
        histogram.observe(value)
    times.settle()
    times.settle()

    def counted(registry: CollectorRegistry) -> list[bytes]:
        return [line for line in generate_latest(registry).splitlines() if b"_created" not in line]

    assert counted(ours) == counted(theirs)


def test_an_empty_file_is_skipped(tmp_path: Path) -> None:
    """A process creates each of its files empty: a scrape in that moment does not fail."""
    (tmp_path / "counter_1.db").touch()
    assert list(Together(tmp_path).collect()) == []
