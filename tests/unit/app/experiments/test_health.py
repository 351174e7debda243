"""When the pipeline of rewards is healthy, and how its past is continued."""

from typing import Any

import msgspec
import pytest

from app.evaluation.gate import Bounds
from app.experiments.health import MOST_POINTS, continued, decode, encode, problems
from app.messages.pipeline import HealthFeature, LoopHealth
from state.errors import CorruptState
from tests.unit.app.experiments.scene import gate, healthy, joined, verdict


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({}, ""),
        ({"as_of": "2026-11-28T10:00:00Z"}, ""),
        ({"as_of": "2026-11-27T10:00:00Z"}, "the log ends 48 hours before it was judged"),
        ({"as_of": "2026-11-30T10:00:00Z"}, ""),
        ({"day": joined(0, 0)}, "no window has closed in the last day"),
        ({"day": joined(50, 0), "before": joined(0, 0)}, "no decision has found a reward"),
        # Rare rewards, or the first day.
        ({"day": joined(1_000, 1), "before": joined(7_000, 7)}, ""),
        ({"day": joined(1, 1), "before": joined(0, 0)}, ""),
        # A fifth less is noise or a weekend; more is a fall, unless chance does it too.
        ({"day": joined(1_000, 401)}, ""),
        ({"day": joined(1_000, 399)}, "only 39.9% of the decisions found a reward in the last day, and 50.0% in the"),
        ({"day": joined(1_000, 0)}, "only 0.0% of the decisions found a reward"),
        ({"day": joined(200, 2), "before": joined(1_400, 28)}, ""),
        ({"day": joined(99, 0), "before": joined(7_000, 7_000)}, ""),
        ({"day": joined(1_000, 900)}, ""),
        ({"day": joined(1_000, 500, late=250)}, ""),
        ({"day": joined(1_000, 500, late=260)}, "52% of the rewards came after the window"),
        ({"features": [HealthFeature("age", 0.0, 0.2)]}, ""),
        ({"features": [HealthFeature("age", 0.5, 0.1)]}, ""),
        ({"features": [HealthFeature("age", 0.1, 0.35)]}, "the feature age had no value in 35% of the last day's"),
        ({"features": [HealthFeature("age", 0.1, 0.35)], "hours": []}, ""),
    ],
)
def test_rules(said: dict[str, Any], problem: str) -> None:
    """Each names its shares; few decisions are no reason for any but the first two."""
    found = list(problems(healthy(**said)))
    assert len(found) == bool(problem)
    assert "".join(found).startswith(problem)


def at(minute: int) -> LoopHealth:
    return healthy(at=f"2026-11-29T10:{minute:02d}:00Z")


def after(before: LoopHealth | None, minute: int, bounds: Bounds | None) -> LoopHealth:
    return continued(at(minute), verdict(bounds).evidence, before)


def test_gates_are_remembered() -> None:
    """In order, each run once, the last of them; a run without a bound leaves none, and who is no challenger goes."""
    first = after(None, 1, gate(-0.1, 0.3, needed=9))
    assert list(first.gates) == ["watches"]
    [point] = first.gates["watches"]
    assert (point.at, point.champion, point.low, point.high, point.n, point.needed) == (
        "2026-11-29T10:01:00Z",
        "serves",
        -0.1,
        0.3,
        5_000,
        9,
    )
    assert after(first, 1, gate(-0.1, 0.3, needed=9)) == first
    second = after(after(first, 2, gate(-1.0, 1.0, refused="silence")), 3, gate(0.0, 0.2))
    assert [each.low for each in second.gates["watches"]] == [-0.1, 0.0]
    other = continued(at(4), verdict(gate(0.0, 0.1), policy="fades").evidence, second)
    assert list(other.gates) == ["fades"]
    long = msgspec.structs.replace(first, gates={"watches": [point] * MOST_POINTS})
    assert len(after(long, 5, gate(0.1, 0.2)).gates["watches"]) == MOST_POINTS
    assert after(long, 5, gate(0.1, 0.2)).gates["watches"][-1].low == 0.1


def test_what_is_wrong_is_kept_with_it() -> None:
    """Whoever reads it need not know the rules."""
    found = continued(healthy(day=joined(0, 0)), verdict(None).evidence, None)
    assert found.problems == ["no window has closed in the last day of the log"]


def test_as_redis_has_it() -> None:
    """It comes back as it was; what is damaged is named."""
    found = after(None, 1, gate(-0.1, 0.3))
    assert decode("plain", encode(found)) == found
    for text in (b"", b"\xff", b"{}", encode(found)[:-1]):
        with pytest.raises(CorruptState, match="oo:evidence plain health: is not a health"):
            decode("plain", text)
