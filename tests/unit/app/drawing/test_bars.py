"""Places of numbers across a width, and shades."""

import pytest

from app.drawing.bars import SHADES, WIDTH, Across, Bar, shade, stacked


def test_a_scale() -> None:
    """It has room for all numbers and for 0; a bar says which of its ends is larger, if nothing else."""
    scale = Across.over([-1.0, 3.0])
    assert (scale.at(-1.0), scale.zero, scale.at(3.0)) == (0, 250, WIDTH)
    assert scale.bar(0.0, 3.0) == Bar(250, 750, "more")
    assert scale.bar(0.0, -1.0) == Bar(0, 250, "less")
    assert scale.bar(1.0, 0.0, "rest") == Bar(250, 250, "rest")
    assert Across.over([2.0]) == Across(0.0, 2.0)
    assert Across.over([]).zero == Across.over([0.0]).zero == 500


def test_what_is_negative_lies_on_the_other_side() -> None:
    """Each part begins where the last one of its sign ended; nothing has no bar."""
    assert stacked([("a", 1.0), ("b", -2.0), ("c", 0.0), ("d", 0.5), ("e", -1.0)]) == [
        ("a", 0.0, 1.0),
        ("b", -2.0, 0.0),
        ("d", 1.0, 1.5),
        ("e", -3.0, -2.0),
    ]


@pytest.mark.parametrize(("value", "step"), [(0.0, 0), (0.999, SHADES - 1), (1.0, SHADES - 1), (0.5, SHADES // 2)])
def test_shades(value: float, step: int) -> None:
    """The whole range has all of them; without a range there is one."""
    assert shade(value, 0.0, 1.0) == step
    assert shade(value, value, value) == SHADES // 2
