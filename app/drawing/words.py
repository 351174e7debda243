"""Numbers, times and spans as the console writes them."""

import math
import re
import time
from datetime import datetime
from typing import Final

from markupsafe import Markup

__all__ = ["FILTERS", "ago", "breaking", "count", "minute", "moment", "number", "share", "signed", "span", "unix"]

_NONE: Final = "\N{EN DASH}"
# A name up to a mark, or to its end.
_PARTS: Final = re.compile(r"[^_=*/.\-]*[_=*/.\-]|[^_=*/.\-]+")
_SPANS: Final = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"))


def count(value: float | None) -> str:
    """A whole number: 12,345."""
    return _NONE if value is None else f"{value:,.0f}"


def number(value: float | None, digits: int = 3) -> str:
    """A mean or an estimate, with a minus sign as wide as a plus."""
    if value is None or not math.isfinite(value):
        return _NONE
    # Rounded first: what is written as 0 has no sign.
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def signed(value: float | None, digits: int = 3) -> str:
    """A difference."""
    if value is None or not math.isfinite(value):
        return _NONE
    return f"{round(value, digits) + 0.0:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def share(value: float | None) -> str:
    """A part of a whole, in per cent."""
    if value is None or not math.isfinite(value):
        return _NONE
    text = f"{100 * value:.{1 if abs(value) < 0.1 else 0}f}".removesuffix(".0")
    return f"{text}\N{NO-BREAK SPACE}%"


def span(seconds: float | None) -> str:
    """A time that passes: 24 h, 5.2 min, 30 s, 12 ms."""
    if seconds is None or not math.isfinite(seconds):
        return _NONE
    for size, unit in _SPANS:
        if seconds >= 2 * size or (seconds >= size and seconds % size == 0):
            return f"{_short(seconds / size)}\N{NO-BREAK SPACE}{unit}"
    if seconds >= 1 or seconds == 0:
        return f"{_short(seconds)}\N{NO-BREAK SPACE}s"
    return f"{_short(1_000 * seconds)}\N{NO-BREAK SPACE}ms"


def _short(value: float) -> str:
    return f"{value:.{1 if value < 9.95 else 0}f}".removesuffix(".0")


def ago(seconds: float) -> str:
    """How long something is past, for people."""
    size, unit = next(((size, unit) for size, unit in _SPANS if seconds >= size), (0.0, ""))
    return f"{seconds // size:.0f}\N{NO-BREAK SPACE}{unit} ago" if size else "just now"


def moment(seconds: float | None) -> Markup | str:
    """A moment (Unix seconds) in UTC."""
    if seconds is None:
        return _NONE
    machine = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
    return Markup('<time datetime="{}">{}</time>').format(machine, minute(seconds))


def minute(seconds: float) -> str:
    """The same as text alone."""
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(seconds))


def unix(text: str) -> int:
    """The Unix seconds of a moment as messages have it."""
    return int(datetime.fromisoformat(text).timestamp())


def breaking(text: str) -> Markup:
    """A name of columns or policies, which may go on in the next line after a mark."""
    return Markup("<wbr>").join(_PARTS.findall(text))


FILTERS: Final = {
    "ago": ago,
    "breaking": breaking,
    "count": count,
    "moment": moment,
    "number": number,
    "share": share,
    "signed": signed,
    "span": span,
    "unix": unix,
}
