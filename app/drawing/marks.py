"""Plots as SVG in the page: their colours come from its style, and texts keep their size at every width.

Across, places are percentages; only paths cannot have such, and stand in a picture of their own that is stretched.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import groupby, pairwise
from typing import Final, NamedTuple

from markupsafe import Markup, escape

from app.drawing.scales import Scale, scale
from app.drawing.words import share

__all__ = ["Axis", "Range", "Series", "columns", "legend", "lines", "ranges"]

HUES: Final = 8
# Pixels: of the plot itself, of the room above it for the highest value, and of that below for the texts of its axis.
_HEIGHT: Final = 170
_ABOVE: Final = 18
_BELOW: Final = 20
_ROW: Final = 44
# What a stretched picture is wide, and the share of a plot left of it, where the texts of its other axis are.
_ACROSS: Final = 1_000
_LEFT: Final = 0.1


class Series(NamedTuple):
    """A name and a value for each place of an axis, None where there is none, and the ends of their intervals."""

    name: str
    values: Sequence[float | None]
    low: Sequence[float | None] = ()
    high: Sequence[float | None] = ()


class Axis(NamedTuple):
    """The places across, each from 0 to 1, with what is said of one that is pointed at; and texts at some places."""

    places: Sequence[float]
    texts: Sequence[tuple[float, str]]
    hints: Sequence[str] = ()


class Range(NamedTuple):
    """A row: a value and its interval, in a hue; `said` stands beside the name."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    hue: int
    said: str


def lines(
    series: Sequence[Series], axis: Axis, label: str, *, shares: bool = False, mark: float | None = None
) -> Markup:
    """A line for each of the series, with a band where it has intervals; a dashed rule at `mark`.

    `shares` begin at 0 and are written in per cent.
    """
    every = [value for each in series for value in (*each.values, *each.low, *each.high)]
    y = scale([*every, mark], zero=shares)
    paths = []
    for hue, each in enumerate(series):
        name = _hue(hue)
        if each.low:
            for run in _runs(each.low, each.high):
                there = [(axis.places[n], y.place(each.high[n] or 0.0)) for n in run]
                back = [(axis.places[n], y.place(each.low[n] or 0.0)) for n in reversed(run)]
                paths.append(f'<path class="band {name}" d="{_path([*there, *back])}Z"/>')
        for run in _runs(each.values):
            points = [(axis.places[n], y.place(each.values[n] or 0.0)) for n in run]
            # A point alone is a line to itself, which round ends make visible.
            paths.append(f'<path class="line {name}" d="{_path(points if run[1:] else points * 2)}"/>')
    rule = [] if mark is None else [_across("zero", y.place(mark))]
    return _picture([*_grid(y), *rule, _stretched(paths), *_ticks(y, shares=shares), *_hints(axis)], axis, label)


def columns(series: Sequence[Series], axis: Axis, label: str) -> Markup:
    """Values on top of each other at each place: counts, or shares of a whole."""
    total = [sum(each.values[n] or 0.0 for each in series) for n in range(len(axis.places))]
    y = scale(total, zero=True)
    half = 0.4 * _apart(axis.places)
    below = [0.0] * len(axis.places)
    shapes = []
    for hue, each in enumerate(series):
        parts = []
        for n, value in enumerate(each.values):
            if value:
                left, right = axis.places[n] - half, axis.places[n] + half
                foot, head = y.place(below[n]), y.place(below[n] + value)
                parts.append(f"{_path([(left, foot), (left, head), (right, head), (right, foot)])}Z")
                below[n] += value
        if parts:
            shapes.append(f'<path class="bar-of {_hue(hue)}" d="{"".join(parts)}"/>')
    return _picture([*_grid(y), _stretched(shapes), *_ticks(y), *_hints(axis)], axis, label)


def ranges(rows: Sequence[Range], label: str, *, mark: float | None = None) -> Markup:
    """A row for each, below its name: a dot, and a bar from one end of its interval to the other."""
    x = scale([*(value for row in rows for value in (row.value, row.low, row.high)), mark], ticks=3)
    height = _ROW * len(rows)
    parts = [
        f'<line class="grid" x1="{_percent(x.place(tick))}" x2="{_percent(x.place(tick))}" y1="0" y2="{height}"/>'
        for tick in x.ticks
    ]
    if mark is not None:
        at = _percent(x.place(mark))
        parts.append(f'<line class="zero" x1="{at}" x2="{at}" y1="0" y2="{height}"/>')
    for place, row in enumerate(rows):
        top = _ROW * place
        name = f'<tspan class="label">{escape(row.name)}</tspan> {escape(row.said)}'
        parts.append(f'<text class="halo" x="0" y="{top + 16}">{name}</text>')
        if row.low is not None and row.high is not None:
            ends = f'x1="{_percent(x.place(row.low))}" x2="{_percent(x.place(row.high))}"'
            parts.append(f'<line class="range {_hue(row.hue)}" {ends} y1="{top + 31}" y2="{top + 31}"/>')
        if row.value is not None:
            parts.append(
                f'<circle class="dot {_hue(row.hue)}" cx="{_percent(x.place(row.value))}" cy="{top + 31}" r="5"/>'
            )
    texts = [(x.place(tick), x.written(tick)) for tick in x.ticks]
    return _svg([*parts, *_texts(texts, height + 15)], height + _BELOW, label)


def legend(names: Iterable[str]) -> Markup:
    """The legend: the name of each hue."""
    keys = (
        Markup('<span><span class="key {}"></span>{}</span>').format(_hue(hue), name)  # Markup.format escapes
        for hue, name in enumerate(names)
    )
    return Markup('<p class="legend">{}</p>').format(Markup(" ").join(keys))


def _hue(number: int) -> str:
    return f"hue-{number % HUES + 1}"


def _runs(*sides: Sequence[float | None]) -> list[list[int]]:
    """The stretches of places at which all sides have a finite value."""
    known = [all(value is not None and math.isfinite(value) for value in both) for both in zip(*sides, strict=True)]
    return [list(run) for is_known, run in groupby(range(len(known)), key=lambda n: known[n]) if is_known]


def _path(points: Iterable[tuple[float, float]]) -> str:
    """Through places from 0 to 1, across and up."""
    return "M" + "L".join(f"{_ACROSS * x:.4g},{_ABOVE + _HEIGHT * (1 - y):.4g}" for x, y in points)


def _percent(place: float) -> str:
    """A place from 0 to 1 in a plot."""
    return f"{100 * (_LEFT + (1 - _LEFT) * place):.4g}%"


def _apart(places: Sequence[float]) -> float:
    return min((b - a for a, b in pairwise(places)), default=0.1)


def _across(kind: str, up: float) -> str:
    at = f"{_ABOVE + _HEIGHT * (1 - up):.4g}"
    return f'<line class="{kind}" x1="0" x2="100%" y1="{at}" y2="{at}"/>'


def _grid(y: Scale) -> Iterable[str]:
    return (_across("axis" if tick == 0 else "grid", y.place(tick)) for tick in y.ticks)


def _ticks(y: Scale, *, shares: bool = False) -> Iterable[str]:
    """What the lines of the grid stand for, at the left above each."""
    for tick in y.ticks:
        at = _ABOVE + _HEIGHT * (1 - y.place(tick)) - 3
        yield f'<text class="halo" x="0" y="{at:.4g}">{share(tick) if shares else y.written(tick)}</text>'


def _stretched(paths: Sequence[str]) -> str:
    height = _ABOVE + _HEIGHT
    size = f'x="{_percent(0)}" width="{100 * (1 - _LEFT):g}%" height="{height}" viewBox="0 0 {_ACROSS} {height}"'
    return f'<svg {size} preserveAspectRatio="none">{"".join(paths)}</svg>'


def _hints(axis: Axis) -> Iterable[str]:
    """Places to point at, as high as the plot."""
    half = _apart(axis.places) / 2
    for place, hint in zip(axis.places, axis.hints, strict=False):
        size = f'x="{_percent(place - half)}" width="{200 * half * (1 - _LEFT):.4g}%"'
        yield f'<rect class="hint" {size} y="{_ABOVE}" height="{_HEIGHT}"><title>{escape(hint)}</title></rect>'


def _texts(texts: Iterable[tuple[float, str]], y: float) -> Iterable[str]:
    """Texts below an axis: those at its ends do not leave the picture."""
    for place, text in texts:
        anchor = "start" if place < 0.06 else "end" if place > 0.94 else "middle"
        yield f'<text x="{_percent(place)}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'


def _picture(parts: Iterable[str], axis: Axis, label: str) -> Markup:
    return _svg([*parts, *_texts(axis.texts, _ABOVE + _HEIGHT + 15)], _ABOVE + _HEIGHT + _BELOW, label)


def _svg(parts: Iterable[str], height: int, label: str) -> Markup:
    # All texts in the parts are escaped where they are put in.
    head = f'<svg class="plot" role="img" aria-label="{escape(label)}" width="100%" height="{height}">'
    return Markup(f"{head}{''.join(parts)}</svg>")  # noqa: S704
