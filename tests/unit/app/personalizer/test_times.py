"""Durations and moments in ISO 8601."""

import pytest

from app.personalizer.times import duration, moment, seconds


@pytest.mark.parametrize(
    ("text", "length", "again"),
    [
        ("PT10M", 600, "PT10M"),
        ("PT600S", 600, "PT10M"),
        ("P1D", 86_400, "P1D"),
        ("P1DT2H3M4S", 93_784, "P1DT2H3M4S"),
        ("P1W", 604_800, "P7D"),
        ("PT0S", 0, "PT0S"),
        ("PT5.000S", 5, "PT5S"),
    ],
)
def test_durations(text: str, length: int, again: str) -> None:
    """Read in any form and written in the shortest."""
    assert (seconds(text), duration(length)) == (length, again)


@pytest.mark.parametrize("text", ["", "P", "PT", "P1DT", "10M", "PT10", "PT1.5S", "P1M", "-PT5S", "PT" + "9" * 20])
def test_what_is_no_duration(text: str) -> None:
    """Months and years have no length, and a part of a second is too short for anything here."""
    assert seconds(text) is None


def test_moment() -> None:
    """To the second, in UTC."""
    assert moment(1_795_438_044_999) == "2026-11-23T12:47:24Z"
