"""Intervals and bars are drawn in every variant, with their names, and with gaps where nothing is known."""

import re
import xml.etree.ElementTree as ET

from app.report.marks import Bars, Range, Ranges
from app.report.plots import HUES, SIZES, svg

RANGES = Ranges("Rewards", "reward", "policy", [Range("a <b>", 0.5, 0.4, 0.6), Range("alone", 0.2, None, None)], 0.45)
BARS = Bars("Weights", "weight", "share", ["to 2", "to 4"], [("first", [0.75, 0.25]), ("second", [1.0, 0.0])])


def texts(drawn: str) -> set[str]:
    return set(re.findall(r"<text[^>]*>([^<]*)</text>", drawn))


def marks(drawn: str, kind: str) -> int:
    """How many marks of a kind there are."""
    return drawn.count(f'aria-roledescription="{kind}"')


def test_ranges() -> None:
    """A point for each, a rule for each interval that is known, and one at the mark; as high as there are rows."""
    found = svg(RANGES)
    assert len(found) == 4
    for (theme, width), drawn in found.items():
        ET.fromstring(drawn)
        assert {"a &lt;b&gt;", "alone", "reward"} <= texts(drawn)
        assert HUES[theme][0] in drawn
        assert (marks(drawn, "point"), marks(drawn, "rule mark")) == (2, 2)
        assert drawn.count("stroke-dasharray") == 1
        box = re.search(r'viewBox="0 0 (\d+) (\d+)"', drawn)
        assert box
        assert (int(box[1]), int(box[2])) == (SIZES[width][0], 60 + 2 * 34)
    unmarked = Ranges(RANGES.title, RANGES.x, RANGES.y, RANGES.ranges)
    assert "stroke-dasharray" not in svg(unmarked)["light", "wide"]


def test_bars() -> None:
    """A bar for each share of each name, in its colour."""
    for (theme, _), drawn in svg(BARS).items():
        ET.fromstring(drawn)
        assert {"to 2", "to 4", "first", "second"} <= texts(drawn)
        assert marks(drawn, "bar") == 4
        assert {HUES[theme][0], HUES[theme][1]} <= set(re.findall(r'fill="(#[0-9a-f]{6})"', drawn))
