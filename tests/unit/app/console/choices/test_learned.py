"""Columns as bars, and what would be chosen where a field changes."""

from app.console.choices.learned import heat, weights
from app.console.choices.preview import Row


def test_weights() -> None:
    """On one scale with their ranges, in the policy's order; of very many those that are nearest to 0 are left out."""
    found, hidden = weights(["a", "b"], [1.0, -0.5], [0.5, 0.25], most=2)
    assert hidden == 0
    # From -0.75 to 1.5 across 1000.
    assert [(one.label, one.bar.tone, one.bar.x, one.bar.width) for one in found] == [
        ("a", "more", 333, 445),
        ("b", "less", 111, 222),
    ]
    assert [(one.range.x, one.range.width) for one in found] == [(556, 444), (0, 222)]
    names = [f"c{place}" for place in range(100)]
    found, hidden = weights(names, [place / 100 for place in range(100)], [0.0] * 100, most=48)
    assert ([one.label for one in found], hidden) == (names[52:], 52)


def test_heat() -> None:
    """The likeliest choice of each value has a mark, by how much it is ahead is told, and one that is never the best is
    the first to be left out."""
    rows = [Row(hour, [float(hour), 1.0], [0.9 if hour > 1 else 0.1, 0.9 if hour <= 1 else 0.1]) for hour in (0, 1, 2)]
    found = heat("hour", rows, ["walk", "rent"])
    assert (found.values, found.low, found.high, found.hidden) == ([0, 1, 2], 0.0, 2.0, 0)
    assert [(name, [cell.is_best for cell in cells]) for name, cells in found.lines] == [
        ("walk", [False, False, True]),
        ("rent", [True, True, False]),
    ]
    assert found.choices == [(0, "rent", 0.9, 1.0), (1, "rent", 0.9, 0.0), (2, "walk", 0.9, 1.0)]
    many = [Row(0, [float(place) for place in range(40)], [0.0] * 39 + [1.0])]
    found = heat("hour", many, [str(place) for place in range(40)])
    assert (len(found.lines), found.hidden, found.lines[-1][0]) == (12, 28, "39")


def test_one_candidate() -> None:
    """It is ahead of nothing."""
    assert heat("hour", [Row(3, [0.5], [1.0])], ["a"]).choices == [(3, "a", 1.0, None)]
