"""How numbers, times and spans are written."""

from typing import Any

import pytest

from app.drawing.words import ago, breaking, count, minute, moment, number, share, signed, span, unix


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (count(1_234_567), "1,234,567"),
        (count(None), "\N{EN DASH}"),
        (number(0.12345), "0.123"),
        (number(-1.5, 1), "\N{MINUS SIGN}1.5"),
        (number(float("nan")), "\N{EN DASH}"),
        (number(None), "\N{EN DASH}"),
        (number(-0.0001), "0.000"),
        (signed(-0.0001), "+0.000"),
        (signed(0.02), "+0.020"),
        (signed(-0.02, 2), "\N{MINUS SIGN}0.02"),
        (signed(float("inf")), "\N{EN DASH}"),
        (share(0.034), "3.4\xa0%"),
        (share(0.456), "46\xa0%"),
        (share(0.05), "5\xa0%"),
        (share(0.9996), "100\xa0%"),
        (share(0), "0\xa0%"),
        (share(1.0), "100\xa0%"),
        (share(None), "\N{EN DASH}"),
        (span(0), "0\xa0s"),
        (span(0.0123), "12\xa0ms"),
        (span(371.4), "6.2\xa0min"),
        (span(598), "10\xa0min"),
        (span(90), "90\xa0s"),
        (span(3_600), "1\xa0h"),
        (span(5_400), "90\xa0min"),
        (span(86_400), "1\xa0d"),
        (span(259_200), "3\xa0d"),
        (span(None), "\N{EN DASH}"),
        (ago(5), "just now"),
        (ago(7_300), "2\xa0h ago"),
        (ago(7_300 * 24), "2\xa0d ago"),
        (unix("1970-01-02T00:00:00Z"), "86400"),
        (minute(90), "1970-01-01 00:01"),
        (breaking("a_b=<c>*d"), "a_<wbr>b=<wbr>&lt;c&gt;*<wbr>d"),
        (breaking(""), ""),
        (moment(None), "\N{EN DASH}"),
        (moment(0), '<time datetime="1970-01-01T00:00:00Z">1970-01-01 00:00</time>'),
    ],
)
def test_words(written: Any, expected: str) -> None:
    """Nothing is a dash, and a minus sign is as wide as a plus."""
    assert str(written) == expected
