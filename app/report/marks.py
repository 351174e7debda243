"""Plots of intervals side by side, and of shares as bars."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from app.report.plots import HUES

__all__ = ["Bars", "Range", "Ranges"]

_ROW: Final = 34
_AROUND: Final = 60
# A reader's font may be wider than the one by which room is made for the names.
_PADDING: Final = {"left": 28, "top": 5, "right": 12, "bottom": 5}


class Range(msgspec.Struct, frozen=True):
    """A value and the ends of its interval; None where these are not known."""

    name: str
    value: float
    low: float | None
    high: float | None


class Ranges(msgspec.Struct, frozen=True):
    """A row for each range, in order, on a common axis `x`; a rule at `mark`, if there is one."""

    title: str
    x: str
    y: str
    ranges: Sequence[Range]
    mark: float | None = None

    def spec(self, theme: str, width: str) -> dict[str, Any]:
        hue, faint = HUES[theme][0], HUES[theme][6]
        names = [each.name for each in self.ranges]
        y = {"field": "name", "type": "nominal", "sort": names, "title": None, "axis": {"labelLimit": 180}}
        x = {"type": "quantitative", "title": self.x, "scale": {"zero": False}}
        x["axis"] = {"tickCount": 8 if width == "wide" else 4}
        layers: list[dict[str, Any]] = [
            {
                "transform": [{"filter": "isValid(datum.low)"}],
                "mark": {"type": "rule", "strokeWidth": 3, "color": hue},
                "encoding": {"y": y, "x": {**x, "field": "low"}, "x2": {"field": "high"}},
            },
            {
                "mark": {"type": "point", "filled": True, "size": 80, "color": hue, "opacity": 1},
                "encoding": {"y": y, "x": {**x, "field": "value"}},
            },
        ]
        if self.mark is not None:
            rule = {"type": "rule", "strokeDash": [4, 4], "color": faint}
            at = {"data": {"values": [{"mark": self.mark}]}, "encoding": {"x": {**x, "field": "mark"}}}
            layers.append({"mark": rule, **at})
        rows = [{"name": each.name, "value": each.value, "low": each.low, "high": each.high} for each in self.ranges]
        height = _AROUND + _ROW * len(rows)
        return {"data": {"values": rows}, "layer": layers, "height": height, "padding": _PADDING}


class Bars(msgspec.Struct, frozen=True):
    """Shares by `bins`, in order: of each name beside each other."""

    title: str
    x: str
    y: str
    bins: Sequence[str]
    shares: Sequence[tuple[str, Sequence[float]]]

    def spec(self, theme: str, width: str) -> dict[str, Any]:
        names = [name for name, _ in self.shares]
        legend = {"orient": "top", "title": None, "columns": 4 if width == "wide" else 2, "symbolType": "square"}
        hues = [HUES[theme][place % len(HUES[theme])] for place in range(len(names))]
        color = {"field": "of", "type": "nominal", "sort": names, "legend": legend}
        color["scale"] = {"domain": names, "range": hues}
        rows = [
            {"of": name, "bin": bin_, "share": share}
            for name, shares in self.shares
            for bin_, share in zip(self.bins, shares, strict=True)
        ]
        x = {"field": "bin", "type": "ordinal", "sort": list(self.bins), "title": self.x}
        return {
            "data": {"values": rows},
            "mark": {"type": "bar"},
            "encoding": {
                "x": {**x, "axis": {"labelAngle": 0 if width == "wide" else -60}},
                "xOffset": {"field": "of", "type": "nominal", "sort": names},
                "y": {"field": "share", "type": "quantitative", "title": self.y, "axis": {"format": "%"}},
                "color": color,
            },
        }
