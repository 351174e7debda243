"""Plots as SVG."""

import re
from xml.etree import ElementTree as ET

import pytest
from markupsafe import Markup

from app.drawing.marks import Axis, Range, Series, columns, legend, lines, ranges

AXIS = Axis([0.125, 0.375, 0.625, 0.875], [(0.0, "Nov <27>"), (1.0, "end")], ["a", "b & c", "d", "e"])
NAN = float("nan")


def parsed(drawn: Markup) -> ET.Element:
    """The plot, which is XML as well, and has nothing that the policy of the pages does not let pass."""
    assert " style=" not in drawn
    assert "<script" not in drawn
    return ET.fromstring(drawn)


def paths(drawn: Markup, kind: str) -> list[str]:
    return [each.get("d", "") for each in parsed(drawn).iter("path") if each.get("class", "").startswith(f"{kind} ")]


def points(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"([\d.]+),([\d.]+)", path)]


def test_lines() -> None:
    """Through the values, the higher the further up; with a gap where there is none, and a point alone stays."""
    drawn = lines([Series("m", [0.0, 1.0, None, 0.5])], AXIS, "all")
    assert parsed(drawn).get("aria-label") == "all"
    first, alone = (points(path) for path in paths(drawn, "line"))
    assert [x for x, _ in first] == [125, 375]
    assert first[0][1] > first[1][1]
    assert (len(alone), len(set(alone))) == (2, 1)


def test_a_band_goes_there_and_back() -> None:
    """Along the upper ends and back along the lower ones; only where both are known."""
    series = Series("m", [0.5, 0.5, 0.5, 0.5], [0.2, 0.3, None, 0.1], [0.8, 0.7, 0.9, NAN])
    [band] = paths(lines([series], AXIS, "all"), "band")
    assert [x for x, _ in points(band)] == [125, 375, 375, 125]
    assert band.endswith("Z")


def test_columns_stand_on_each_other() -> None:
    """At each place up to the sum; what is 0 or unknown draws nothing."""
    drawn = columns([Series("a", [1, 2, None, 0]), Series("b", [3, 0, 4, 0])], AXIS, "all")
    low, high = paths(drawn, "bar-of")
    assert (low.count("Z"), high.count("Z")) == (2, 2)
    tops = [min(y for _, y in points(part)) for part in high.split("Z") if part]
    feet = [max(y for _, y in points(part)) for part in high.split("Z") if part]
    assert tops[0] == tops[1] < feet[0] < feet[1]
    assert [each.findtext("title") for each in parsed(drawn).iter("rect")] == ["a", "b & c", "d", "e"]


def test_nothing_to_draw() -> None:
    """Is an empty plot."""
    for drawn in (columns([], Axis([], []), "x"), lines([], Axis([], []), "x"), ranges([], "x")):
        assert parsed(drawn).get("class") == "plot"


def test_ranges() -> None:
    """A row for each: its name, what is said, its interval and its value, if there are."""
    rows = [
        Range("<a>", 0.5, 0.1, 0.9, 0, "is & was"),
        Range("b", None, -0.2, 0.3, 9, ""),
        Range("c", 0.4, None, None, 1, ""),
    ]
    drawn = ranges(rows, "all", mark=0.0)
    found = parsed(drawn)
    assert "".join(next(found.iter("text")).itertext()) == "<a> is & was"
    assert len(list(found.iter("circle"))) == 2
    assert [each.get("class") for each in found.iter("line")].count("range hue-1") == 1
    assert 'class="range hue-2"' in drawn  # the tenth hue is the second
    assert 'class="zero"' in drawn


@pytest.mark.parametrize("name", ["<script>", '" onload="x'])
def test_names_are_escaped(name: str) -> None:
    """Wherever they stand."""
    axis = Axis([0.5], [(0.5, name)], [name])
    drawn = [lines([Series(name, [1.0])], axis, name), ranges([Range(name, 1.0, 0.0, 2.0, 0, name)], name)]
    for each in drawn:
        assert name in (parsed(each).get("aria-label") or "")
    assert name not in legend([name])


def test_legend() -> None:
    """In the order of the series, by the hues that they have."""
    drawn = legend(["a", "b"])
    assert re.findall(r'key (hue-\d)"></span>(\w)', drawn) == [("hue-1", "a"), ("hue-2", "b")]
