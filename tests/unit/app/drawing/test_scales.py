"""From values to places in a plot."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.drawing.scales import scale

FINITE = st.floats(-1e12, 1e12).map(lambda value: 0.0 if abs(value) < 1e-6 else value)


@pytest.mark.parametrize(
    ("values", "zero", "written"),
    [
        ([0, 220], False, ["0", "50", "100", "150", "200", "250"]),
        ([3, 3], True, ["0", "1", "2", "3"]),
        ([0.11, 0.29], False, ["0.10", "0.15", "0.20", "0.25", "0.30"]),
        ([0.5, 0.9], True, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        ([-0.02, 0.01], False, ["\N{MINUS SIGN}0.02", "\N{MINUS SIGN}0.01", "0.00", "0.01"]),
        ([None, float("nan"), float("inf")], False, None),
        ([], True, None),
        ([0.2], False, None),
        ([0.5, 1.0], False, ["0.5", "0.6", "0.7", "0.8", "0.9", "1.0"]),
        ([0.0, 5.0], False, ["0", "1", "2", "3", "4", "5"]),
        ([0.0, 1.25], False, ["0.00", "0.25", "0.50", "0.75", "1.00", "1.25"]),
        ([12_000], True, ["0", "2,500", "5,000", "7,500", "10,000", "12,500"]),
    ],
)
def test_ticks(values: list[float | None], *, zero: bool, written: list[str] | None) -> None:
    """Round, and with as many digits as they need; where there is no value or one, there is an axis all the same."""
    found = scale(values, zero=zero)
    assert found.low < found.high
    if written is not None:
        assert [found.written(tick) for tick in found.ticks] == written


@given(st.lists(FINITE, min_size=1, max_size=9), st.booleans())
def test_every_value_has_its_place(values: list[float], zero: bool) -> None:
    """Between the ends, in order; few ticks, the first and the last at the ends, and none is written like another."""
    found = scale(values, zero=zero)
    room = 1e-6 * (found.high - found.low)
    assert found.low - room <= min(values) <= max(values) <= found.high + room
    places = [found.place(value) for value in sorted(values)]
    assert places == sorted(places)
    assert (found.place(found.low), found.place(found.high)) == (0.0, 1.0)
    assert 2 <= len(found.ticks) <= 8
    assert len({found.written(tick) for tick in found.ticks}) == len(found.ticks)


def test_what_is_beyond_an_end_stands_there() -> None:
    """Of values that the axis was not made of."""
    found = scale([0.0, 1.0])
    assert (found.place(-5.0), found.place(9.0)) == (0.0, 1.0)
