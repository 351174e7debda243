"""How rewards find their decisions, by the hour, and what has changed in what decisions bring."""

from typing import Any

import pytest

from app.decision_log.lines import Candidate
from app.judging.joining import DELAYS, HOURS, Joining
from app.judging.regressors import Regressors
from app.log_reading.joined import Told
from app.messages.pipeline import HealthColumn, HealthFeature, Joined, LoopHealth
from app.policies.catalog import catalog
from tests.unit.app.decision_log.samples import BEGIN, decision, outcome

HOUR = 3_600_000
DAY = 24 * HOUR
# The last millisecond before 10 o'clock, and what the window of an hour then makes of `age` hours ago.
NOW = BEGIN // HOUR * HOUR + HOUR - 1
OWN = """
[features]
heat = { of = "context", kind = "number", min = 0, max = 10 }
size = { of = "candidate", kind = "number", min = 0, max = 4 }
[policies.one]
columns = ["1", "heat", "size"]
explore = { by = "epsilon", epsilon = 0.1 }
"""
SEEN = Regressors([catalog(OWN).policies["one"]])


def told(age: float, *outcomes: tuple[float, dict[str, Any]], **said: Any) -> Told:
    """A decision `age` hours ago with a window of an hour, and its outcomes so many seconds later."""
    ms = NOW - round(age * HOUR)
    made = decision(ms=ms, **{"window_s": 3_600, **said})
    return Told(made, [outcome(seq, ms=ms + round(1_000 * s), **what) for seq, (s, what) in enumerate(outcomes, 2)])


def found(*all_told: Told, missing: float | None = None) -> LoopHealth:
    joining = Joining(SEEN.labels, SEEN.features)
    for each in all_told:
        joining.add(each, SEEN.of(each.decision))
    return joining.health(NOW, at=NOW + 1, champion="egreedy-v1", missing=missing)


def tally(**said: float) -> Joined:
    none: dict[str, Any] = dict.fromkeys(("matured", "rewarded", "late", "defaulted", "counted", "total", "squares"), 0)
    return Joined(**none | said)


def test_an_empty_log() -> None:
    """Has all hours, and nothing in them."""
    health = found()
    assert (health.at, health.as_of) == ("2026-11-28T10:00:00Z", "2026-11-28T09:59:59Z")
    assert (health.day, health.before, health.by_policy, health.delay_median) == (tally(), tally(), {}, None)
    assert [hour.decisions for hour in health.hours] == [0] * HOURS
    assert (health.hours[0].at, health.hours[-1].at) == ("2026-11-25T10:00:00Z", "2026-11-28T09:00:00Z")
    assert (health.columns, health.features, sum(health.delays)) == ([], [], 0)


@pytest.mark.parametrize(
    ("one", "day"),
    [
        (told(2, (60, {})), tally(matured=1, rewarded=1, counted=1, total=0.5, squares=0.25)),
        (told(2), tally(matured=1)),
        (told(0.99, (60, {})), tally()),  # the window is open
        (told(2, (4_000, {"late": True})), tally(matured=1, rewarded=1, late=1, counted=1, total=0.5, squares=0.25)),
        (
            told(2, (3_600, {"what": "default", "reward": None, "total": -1.0})),
            tally(matured=1, defaulted=1, counted=1, total=-1.0, squares=1.0),
        ),
        (
            told(
                2,
                (3_600, {"what": "default", "total": -1.0}),
                (3_700, {"what": "corrected", "total": 1.0, "late": True}),
            ),
            tally(matured=1, rewarded=1, late=1, counted=1, total=1.0, squares=1.0),
        ),
        (told(2, (60, {}), (70, {"what": "retracted", "total": None})), tally(matured=1)),
        (told(2, deferred=True), tally()),
        (told(2, (9, {"what": "cancelled", "total": None}), deferred=True), tally()),
        (
            told(2, (9, {"what": "activated"}), deferred=True),
            tally(matured=1, rewarded=1, counted=1, total=0.5, squares=0.25),
        ),
    ],
)
def test_what_became_of_a_decision(one: Told, day: Joined) -> None:
    """What somebody told is a reward, as long as it stands; what is booked for silence is none."""
    assert found(one).day == day


def test_silence_may_count() -> None:
    """Then it has its part in the mean, and none in the join rate."""
    assert found(told(2), told(3, (60, {})), missing=-0.5).day == tally(
        matured=2, rewarded=1, counted=2, total=0.0, squares=0.5
    )


def test_days_and_hours() -> None:
    """By when the window closed, and by when the decision was made."""
    three = [told(2.5), told(2.6, policy="new", arm="canary", explored=True), told(0.5, (9, {}))]
    health = found(*three, told(24.99), told(25.01), told(24 * 8 + 0.99), told(24 * 8 + 1.01))
    assert (health.day.matured, health.before.matured) == (3, 2)
    assert {name: each.matured for name, each in health.by_policy.items()} == {"egreedy-v1": 2, "new": 1}
    third, last = health.hours[-3], health.hours[-1]
    assert (third.decisions, third.matured, third.explored, third.answered) == (2, 2, 1, 0)
    assert third.served == {"egreedy-v1": 1, "new": 1}
    assert (last.decisions, last.matured, last.answered, last.rewarded) == (1, 0, 1, 0)
    assert sum(hour.decisions for hour in health.hours) == 5


def test_delays() -> None:
    """To the first outcome, of those that are rewarded; an edge belongs to what is below it."""
    again: tuple[float, dict[str, Any]] = (9.0, {"what": "corrected"})
    health = found(*(told(2, (seconds, {}), again) for seconds in (0.5, 1.0, 2.0, 3_000_000)), told(2))
    assert health.delay_edges == list(DELAYS)
    assert health.delays == [2, 1, *[0] * (len(DELAYS) - 2), 1]
    assert health.delay_median == 1.5


def given(age: float, heat: object, *sizes: object) -> Told:
    candidates = [Candidate(f"{place}", {} if size is None else {"size": size}) for place, size in enumerate(sizes)]
    return told(age, context={"heat": heat}, candidates=candidates)


def test_what_decisions_bring() -> None:
    """Means over decisions, in deviations of the week before; a feature lacks a value if one candidate does."""
    week = [given(48, 2, 0, 4), given(72, 4, 0, 4), given(30 * 24, 10, 4, 4)]
    health = found(*week, given(1, 10, 0, 4), given(23.9, 10, 0, None))
    heat, size = health.columns
    assert (heat.column, size.column) == ("heat", "size")
    assert (heat.before, heat.day, heat.shift) == pytest.approx((0.3, 1.0, 7.0))
    assert size == HealthColumn("size", 0.5, 0.25, None)
    assert health.features == [HealthFeature("size", 0.0, 0.5), HealthFeature("heat", 0.0, 0.0)]
    assert found(given(1, 1, 1)).columns == []
