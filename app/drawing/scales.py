"""From values to places in a plot, and the round values at its axis. Pure."""

import math
from collections.abc import Iterable
from typing import Final, NamedTuple

__all__ = ["Scale", "scale"]

_FACTORS: Final = (1.0, 2.0, 2.5, 5.0, 10.0)
# The least extent of an axis, relative to its values: what is closer together is noise of the arithmetic.
_LEAST: Final = 1e-9


class Scale(NamedTuple):
    """An axis from `low` to `high` with round values at `ticks`, which are written with so many `digits`."""

    low: float
    high: float
    ticks: tuple[float, ...]
    digits: int

    def place(self, value: float) -> float:
        """Where a value stands, from 0 to 1; what is beyond an end stands there."""
        return min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)

    def written(self, tick: float) -> str:
        """A round value as it stands at the axis."""
        return f"{tick:,.{self.digits}f}".replace("-", "\N{MINUS SIGN}")


def scale(values: Iterable[float | None], *, zero: bool = False, ticks: int = 4) -> Scale:
    """An axis on which all finite `values` have a place, with about so many `ticks`; `zero`: 0 has one too."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    known += [0.0] if zero or not known else []
    low, high = min(known), max(known)
    if high - low <= _LEAST * max(abs(low), abs(high)):
        # One value: room around it, but 0 stays an end where it is wanted.
        room = abs(high) or 1.0
        low, high = (min(low, 0.0), max(high, 0.0) or 1.0) if zero else (low - room / 2, high + room / 2)
    exponent = math.floor(math.log10((high - low) / ticks))
    power = 10.0**exponent
    factor = next(each for each in _FACTORS if (high - low) / (each * power) <= ticks + 1)
    step = factor * power
    first, last = math.floor(low / step + _LEAST), math.ceil(high / step - _LEAST)
    digits = max(0, -exponent + (factor == 2.5) - (factor == 10.0))
    return Scale(first * step, last * step, tuple(n * step for n in range(first, last + 1)), digits)
