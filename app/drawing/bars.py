"""Numbers as bars and shades: places across a width of 1000, and steps of a scale of colours. Pure."""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

__all__ = ["SHADES", "WIDTH", "Across", "Bar", "shade", "stacked"]

WIDTH: Final = 1_000
# Steps of the scale of colours, from 0 on.
SHADES: Final = 7


class Bar(NamedTuple):
    """A bar from `x` on, `width` wide; `tone` says what it stands for."""

    x: int
    width: int
    tone: str


class Across(NamedTuple):
    """The numbers from `low` to `high` across the width; 0 is among them."""

    low: float
    high: float

    @classmethod
    def over(cls, values: Iterable[float]) -> "Across":
        """The smallest scale that has room for all of `values`."""
        found = [0.0, *values]
        low, high = min(found), max(found)
        return cls(low, high) if low < high else cls(-1.0, 1.0)

    def at(self, value: float) -> int:
        """The place of a number."""
        return round(WIDTH * (value - self.low) / (self.high - self.low))

    @property
    def zero(self) -> int:
        """The place of 0."""
        return self.at(0.0)

    def bar(self, start: float, end: float, tone: str = "") -> Bar:
        """The bar between two numbers; without a `tone` it says which of them is larger."""
        low, high = sorted((self.at(start), self.at(end)))
        return Bar(low, high - low, tone or ("more" if end >= start else "less"))


def stacked(parts: Sequence[tuple[str, float]]) -> list[tuple[str, float, float]]:
    """For each part its tone, and where its bar begins and ends: what is positive lies side by side on the one side of
    0, what is negative on the other."""
    below = above = 0.0
    found = []
    for tone, value in parts:
        if value > 0.0:
            found.append((tone, above, above + value))
            above += value
        elif value < 0.0:
            found.append((tone, below + value, below))
            below += value
    return found


def shade(value: float, low: float, high: float) -> int:
    """The step of a value between `low` and `high`, from 0 to SHADES - 1; the middle one if these are the same."""
    if not low < high:
        return SHADES // 2
    return min(int(SHADES * (value - low) / (high - low)), SHADES - 1)
