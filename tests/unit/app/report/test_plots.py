"""Plots are drawn for light and dark, wide and narrow, with a line for each policy, and name nothing outside."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from functools import cache
from importlib.machinery import ModuleSpec

import numpy as np
import pytest

from app.report import plots
from app.report.plots import Line, Lines, MissingExtra, require, svg

RISING = Line("tips-v3", np.array([0.1, 0.5, 0.9]), np.array([0.05, 0.05, 0.05]))
FLAT = Line("a <b> & c", np.array([0.2, 0.2, 0.2]), np.full(3, np.nan))
PLOT = Lines("Share", "decision", "share of all", [10, 20, 30], [RISING, FLAT], ceiling=1.0)

_BAND, _LINE = 'aria-roledescription="area mark"', 'aria-roledescription="line mark"'


def strokes(drawn: str) -> set[str]:
    return set(re.findall(r'stroke="(#[0-9a-f]{6})"', drawn))


@cache
def drawn_plot() -> Mapping[tuple[str, str], str]:
    """All variants of PLOT."""
    return svg(PLOT)


def test_every_variant() -> None:
    """Two themes and two widths; each has both lines in its colours, a band for the one with errors, and the names."""
    found = drawn_plot()
    assert set(found) == {(theme, width) for theme in ("light", "dark") for width in ("wide", "narrow")}
    for (theme, width), drawn in found.items():
        ET.fromstring(drawn)
        assert set(plots.HUES[theme][:2]) <= strokes(drawn)
        assert not strokes(drawn) & set(plots.HUES["dark" if theme == "light" else "light"])
        assert drawn.count("mark-area") >= 1
        assert {"tips-v3", "a &lt;b&gt; &amp; c"} <= set(re.findall(r"<text[^>]*>([^<]*)</text>", drawn))
        assert re.search(r'viewBox="0 0 (\d+) ', drawn)[1] == str(plots.SIZES[width][0])  # type: ignore[index]
        assert not re.search(r"<svg[^>]* (width|height)=", drawn)


def test_bands_need_errors() -> None:
    """Where errors are not known there is a line, and no band."""
    one_band = drawn_plot()["light", "wide"]
    none = svg(Lines("Share", "x", "y", [10, 20, 30], [FLAT]))["light", "wide"]
    assert (one_band.count(_BAND), none.count(_BAND)) == (1, 0)
    assert (one_band.count(_LINE), none.count(_LINE)) == (2, 1)


def test_one_line_and_a_mark() -> None:
    """One line needs no legend, for the title says whose it is; a mark is a dashed rule."""
    alone = Lines("The gate of a (new)", "x", "y", [10, 20, 30], [RISING], mark=0.0)
    drawn, more = svg(alone)["light", "wide"], drawn_plot()["light", "wide"]
    assert RISING.name not in re.findall(r"<text[^>]*>([^<]*)</text>", drawn)
    assert ("stroke-dasharray" in drawn, "stroke-dasharray" in more) == (True, False)
    assert re.findall(r"url\(#[^)]*[^\w)-]", drawn) == []


def test_gaps() -> None:
    """Nothing is drawn where the mean is not known."""
    gap = Line("gap", np.array([0.1, np.nan, 0.9]), np.array([0.05, np.nan, np.nan]))
    points = plots._points(Lines("Share", "x", "y", [10, 20, 30], [gap]))
    assert [(point["x"], point["y"], point["low"]) for point in points] == [(10, 0.1, 0.0), (30, 0.9, None)]


def test_ids_differ_in_a_page() -> None:
    """No two plots share an id, and each reference leads to one of its own."""
    every = [*drawn_plot().values(), *svg(Lines("Regret", "decision", "regret", [1, 2, 3], [RISING])).values()]
    ids = [name for drawn in every for name in re.findall(r'id="([^"]+)"', drawn)]
    assert len(set(ids)) == len(ids) > 0
    for drawn in every:
        assert set(re.findall(r"url\(#([^)]+)\)", drawn)) <= set(re.findall(r'id="([^"]+)"', drawn))


def test_nothing_is_loaded() -> None:
    """No script, no picture, no link."""
    for drawn in drawn_plot().values():
        assert not re.search(r"<(script|image|a|use|foreignObject)\b|href=|@import|@font-face", drawn)


def test_a_missing_extra_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says how to install it."""
    require()

    def none(_: str) -> ModuleSpec | None:
        return None

    monkeypatch.setattr(plots, "find_spec", none)
    with pytest.raises(MissingExtra, match=r"^plots need vl-convert-python, .* pip install '\.\[report\]'"):
        require()
