"""The columns of tips: the formula of each, and what a profile may hold."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.bandit.context import Context, Fields
from app.bandit.policy import Policy
from app.policies.catalog import policies
from tests.unit.app.bandit.samples import moment, task

ABSENT = (0.0, 0.0, 0.0, 0.5, 0.0)


PROFILED = policies()["egreedy-v2"]


def row(policy: Policy, context: Context, features: Fields) -> list[float]:
    [found] = policy.see(context, [features]).tolist()
    return list(found)


def profile(values: Fields | None, hour: int = 12) -> list[float]:
    """The last five columns of egreedy-v2."""
    return row(PROFILED, moment(hour, 0, values), task())[7:]


@given(
    st.integers(0, 23),
    st.integers(0, 6),
    st.booleans(),
    st.floats(-1e6, 1e6),
    st.integers(1, 4),
    st.floats(-2, 2),
    st.floats(-1e6, 1e7),
    st.floats(-100, 100),
    st.floats(-10, 1_000),
)
def test_every_column(
    h: int, w: int, overdue: bool, age: float, priority: int, rate: float, dwell: float, p: float, v: float
) -> None:
    """The formulas, written out."""
    values = {
        "completion_rate_30d": rate,
        "dismiss_rate_30d": -rate,
        "mean_dwell_ms_30d": dwell,
        "preferred_hour": p,
        "tip_volume_30d": v,
    }
    expected = [
        math.sin(2 * math.pi * h / 24),
        math.cos(2 * math.pi * h / 24),
        1.0 if overdue else 0.0,
        min(30.0, max(0.0, age)) / 30.0,
        (priority - 1) / 3.0,
        math.sin(2 * math.pi * w / 7),
        math.cos(2 * math.pi * w / 7),
        min(1.0, max(0.0, rate)),
        min(1.0, max(0.0, -rate)),
        min(600_000.0, max(0.0, dwell)) / 600_000.0,
        (math.cos(2 * math.pi * (p - h) / 24) + 1) / 2,
        min(1.0, math.log(1 + v) / math.log(101)) if v > 0 else 0.0,
    ]
    for policy in policies(1.0, 0.1).values():
        found = row(policy, moment(h, w, values), task(is_overdue=overdue, task_age_days=age, priority=priority))
        assert found == pytest.approx(expected[: policy.d], abs=1e-12)


@pytest.mark.parametrize("values", [None, {}, {"unknown": 1}])
def test_no_profile(values: dict[str, object] | None) -> None:
    """Without a profile each of its columns has the value of an absent one."""
    assert tuple(profile(values)) == ABSENT


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "abc",
        "1,5",
        "0x10",
        "nan",
        "inf",
        "-Infinity",
        math.nan,
        math.inf,
        -math.inf,
        10**400,
        -(10**400),
        "1e999",
        "9" * 5_000,
        [],
        [0.5],
        {},
        {"value": 0.5},
        b"0.5",
        object(),
    ],
)
def test_what_is_no_number_counts_as_absent(value: object) -> None:
    """Null, text, lists, what is not finite and what no float can hold: as if the field were not there."""
    names = ("completion_rate_30d", "dismiss_rate_30d", "mean_dwell_ms_30d", "preferred_hour", "tip_volume_30d")
    assert tuple(profile(dict.fromkeys(names, value))) == ABSENT


@pytest.mark.parametrize(
    ("value", "number"),
    [(True, 1.0), (False, 0.0), ("0.25", 0.25), (" 0.25 ", 0.25), ("1e-1", 0.1), ("-3", 0.0), (7, 1.0), (10**300, 1.0)],
)
def test_numbers_and_their_text(value: object, number: float) -> None:
    """A number, its text or a truth value is taken, then clipped."""
    assert profile({"completion_rate_30d": value})[0] == pytest.approx(number)
    assert profile({"dismiss_rate_30d": value})[1] == pytest.approx(number)


def test_edges_of_the_profile() -> None:
    """Where clipping begins and ends."""
    assert profile({"mean_dwell_ms_30d": 600_000})[2] == 1.0
    assert profile({"mean_dwell_ms_30d": 600_001})[2] == 1.0
    assert profile({"mean_dwell_ms_30d": "300000"})[2] == 0.5
    assert profile({"preferred_hour": 12})[3] == 1.0
    assert profile({"preferred_hour": 0})[3] == pytest.approx(0.0)
    assert profile({"preferred_hour": 36})[3] == pytest.approx(1.0)
    assert profile({"preferred_hour": 1e308})[3] == pytest.approx(0.5, abs=0.5)
    assert profile({"tip_volume_30d": 0})[4] == 0.0
    assert profile({"tip_volume_30d": -0.5})[4] == 0.0
    assert profile({"tip_volume_30d": -1})[4] == 0.0
    assert profile({"tip_volume_30d": 100})[4] == pytest.approx(1.0)
    assert profile({"tip_volume_30d": 9})[4] == pytest.approx(math.log(10) / math.log(101))
    assert profile({"tip_volume_30d": 10**6})[4] == 1.0


values = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers())


@given(
    st.integers(0, 23),
    st.dictionaries(st.sampled_from(["preferred_hour", "tip_volume_30d", "mean_dwell_ms_30d"]), values),
)
def test_any_profile_gives_bounded_numbers(h: int, found: dict[str, object]) -> None:
    """Whatever a profile holds, its columns are finite and in 0..1."""
    assert all(0.0 <= value <= 1.0 for value in profile(found, h))
