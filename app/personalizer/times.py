"""Durations and moments as ISO 8601 writes them: P1DT2H3M4S, 2026-11-28T09:00:00Z."""

import re
import time
from typing import Final

__all__ = ["duration", "moment", "seconds"]

_FORM: Final = re.compile(
    r"P(?=\d|T\d)(?:(?P<w>\d{1,5})W)?(?:(?P<d>\d{1,5})D)?(?:T(?=\d)(?:(?P<h>\d{1,6})H)?(?:(?P<m>\d{1,8})M)?"
    r"(?:(?P<s>\d{1,9})(?:\.0{1,9})?S)?)?"
)
_SECONDS: Final = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}


def seconds(text: str) -> int | None:
    """A duration in whole seconds; None for what is none."""
    found = _FORM.fullmatch(text)
    if found is None:
        return None
    return sum(int(count) * _SECONDS[unit] for unit, count in found.groupdict().items() if count)


def duration(length: int) -> str:
    """The shortest text of a duration of so many seconds."""
    days, rest = divmod(length, _SECONDS["d"])
    parts = []
    for unit in ("h", "m", "s"):
        count, rest = divmod(rest, _SECONDS[unit])
        parts.append(f"{count}{unit.upper()}" if count else "")
    rest_of_day = "".join(parts) or ("" if days else "0S")
    return "P" + (f"{days}D" if days else "") + (f"T{rest_of_day}" if rest_of_day else "")


def moment(ms: int) -> str:
    """A moment (ms since 1970), to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ms // 1_000))
