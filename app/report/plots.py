"""Plots as SVG: lines with bands, each drawn for light and dark and for a wide and a narrow page.

vl-convert draws them from Vega-Lite's grammar, without a browser; it is an extra, imported only here.
"""

import re
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, Final, Protocol

import msgspec

from app.bandit.ridge import Vector

__all__ = ["HUES", "SIZES", "Line", "Lines", "MissingExtra", "Plot", "require", "svg"]

_INK: Final = {"light": "#3b4252", "dark": "#c8cfdb"}
_GRID: Final = {"light": "#e4e7ec", "dark": "#333a47"}
# Hues that people with any colour vision can tell apart (Okabe and Ito 2008), darker on white and lighter on black.
HUES: Final = {
    "light": ["#0072b2", "#d55e00", "#008a65", "#b5568c", "#a07800", "#3a9bd6", "#6b7280", "#7c4dcc"],
    "dark": ["#5cb3f0", "#ff8a3d", "#2fc99a", "#e895c4", "#e3bd42", "#9ad4fb", "#a5adba", "#b79bff"],
}
SIZES: Final = {"wide": (760, 300), "narrow": (330, 250)}
_FONT: Final = "system-ui, -apple-system, Segoe UI, Roboto, Helvetica, Arial, sans-serif"
# Standard errors to either side of a line.
_BAND: Final = 2.0


class Plot(Protocol):
    """A plot. `spec` describes it in Vega-Lite's grammar, without the parts that all plots share."""

    @property
    def title(self) -> str: ...

    @property
    def x(self) -> str: ...

    @property
    def y(self) -> str: ...

    def spec(self, theme: str, width: str) -> dict[str, Any]: ...


class MissingExtra(Exception):
    """vl-convert is not installed. The message is one line that says how to install it."""


class Line(msgspec.Struct, frozen=True):
    """A line through `mean` (n) with standard errors `error` (n, or nan where they are not known)."""

    name: str
    mean: Vector
    error: Vector


class Lines(msgspec.Struct, frozen=True):
    """A plot of lines over `at` (n), which have gaps where the mean is nan.

    `ceiling` is the greatest value that makes sense, and a dashed rule is at `mark`, if there is one.
    """

    title: str
    x: str
    y: str
    at: Sequence[int]
    lines: Sequence[Line]
    ceiling: float | None = None
    mark: float | None = None

    def spec(self, theme: str, width: str) -> dict[str, Any]:
        return _spec(self, theme, width)


def require() -> None:
    """Raises MissingExtra if nothing can be drawn."""
    if find_spec("vl_convert") is None:
        raise MissingExtra(
            "plots need vl-convert-python, which is not installed: './dev setup' installs it, "
            "or pip install '.[report]' in the checkout"
        )


def svg(plot: Plot) -> dict[tuple[str, str], str]:
    """The plot by theme (light, dark) and width (wide, narrow)."""
    import vl_convert  # noqa: PLC0415  # an extra

    found = {}
    for theme in HUES:
        for width in SIZES:
            drawn = vl_convert.vegalite_to_svg({**_shared(theme, width), **plot.spec(theme, width)})
            # Sized by the page; and ids are unique in a page that has several plots.
            sized = re.sub(r'<svg([^>]*?) width="[\d.]+" height="[\d.]+"', r"<svg\1", drawn, count=1)
            own = re.sub(r"\W", "-", plot.title)
            found[theme, width] = re.sub(r'(id="|url\(#)', rf"\g<1>{own}-{theme}-{width}-", sized)
    return found


def _spec(plot: Lines, theme: str, width: str) -> dict[str, Any]:
    names = [line.name for line in plot.lines]
    hues = [HUES[theme][place % len(HUES[theme])] for place in range(len(names))]
    x = {"field": "x", "type": "quantitative", "title": plot.x, "scale": {"nice": False, "domainMin": 0}}
    x["axis"] = {"grid": False, "tickCount": 8 if width == "wide" else 4, "labelFlush": True}
    legend = {"orient": "top", "title": None, "columns": 4 if width == "wide" else 2, "symbolType": "stroke"}
    # The title of a plot with one line says whose it is.
    shown = legend if len(names) > 1 else None
    color = {"field": "of", "type": "nominal", "sort": names, "scale": {"domain": names, "range": hues}}
    scale: dict[str, Any] = {"zero": True}
    if plot.ceiling is not None:
        scale |= {"domainMax": plot.ceiling}
    y = {"field": "y", "type": "quantitative", "title": plot.y, "scale": scale}
    band: dict[str, Any] = {
        "transform": [{"filter": "isValid(datum.low)"}],
        "mark": {"type": "area", "opacity": 0.15, "clip": True},
        "encoding": {"y": {**y, "field": "low"}, "y2": {"field": "high"}},
    }
    line: dict[str, Any] = {
        "mark": {"type": "line", "strokeWidth": 2.25, "clip": True},
        "encoding": {"y": y},
    }
    encoding = {"x": x, "color": {**color, "legend": shown}}
    layers: list[dict[str, Any]] = [{**each, "encoding": encoding | each["encoding"]} for each in (band, line)]
    if plot.mark is not None:
        rule = {"type": "rule", "strokeDash": [4, 4], "color": HUES[theme][6]}
        at = {"data": {"values": [{"mark": plot.mark}]}, "encoding": {"y": {**y, "field": "mark"}}}
        layers.append({"mark": rule, **at})
    return {
        "data": {"values": _points(plot)},
        "layer": layers,
    }


def _shared(theme: str, width: str) -> dict[str, Any]:
    columns, height = SIZES[width]
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "width": columns,
        "height": height,
        "autosize": {"type": "fit", "contains": "padding"},
        "background": None,
        "config": _config(theme),
    }


def _points(plot: Lines) -> list[dict[str, object]]:
    points = []
    for line in plot.lines:
        for x, mean, error in zip(plot.at, line.mean.tolist(), line.error.tolist(), strict=True):
            if mean != mean:  # noqa: PLR0124  # nan
                continue
            known = error == error  # noqa: PLR0124  # not nan, which JSON has no word for
            low, high = (mean - _BAND * error, mean + _BAND * error) if known else (None, None)
            points.append({"of": line.name, "x": x, "y": mean, "low": low, "high": high})
    return points


def _config(theme: str) -> dict[str, Any]:
    ink, grid = _INK[theme], _GRID[theme]
    return {
        "font": _FONT,
        "view": {"stroke": None},
        "axis": {
            "labelColor": ink,
            "titleColor": ink,
            "labelFontSize": 12,
            "titleFontSize": 12,
            "titleFontWeight": "normal",
            "titlePadding": 10,
            "gridColor": grid,
            "domainColor": grid,
            "tickColor": grid,
        },
        "legend": {
            "labelColor": ink,
            "labelFontSize": 12,
            "labelLimit": 220,
            "symbolOpacity": 1,
            "symbolStrokeWidth": 3,
        },
    }
