"""Chances of values as far out as these, of the normal and of the chi-square distribution."""

import math

__all__ = ["chi_square_tail", "normal_tails"]


def normal_tails(z: float) -> float:
    """The chance that a standard normal number is farther from 0 than `z`.

    Abramowitz and Stegun 1964, 7.1.22 and 26.2.3: erfc(|z|/√2).
    """
    return math.erfc(abs(z) / math.sqrt(2.0))


def chi_square_tail(x: float, degrees: int) -> float:
    """The chance that a chi-square number with so many `degrees` of freedom, at least 1, is greater than `x` >= 0.

    Abramowitz and Stegun 1964, 26.4.4 for odd and 26.4.5 for even degrees: finite sums, whose terms are
    (x/2)^i e^(-x/2) / Γ(i + 1), over i = 1/2, 3/2, ... or 0, 1, ... below degrees/2.
    """
    half = x / 2.0
    if degrees % 2:
        total, at = math.erfc(math.sqrt(half)), 0.5
    else:
        total, at = 0.0, 0.0
    if half == 0.0:
        return 1.0
    while at < degrees / 2.0:
        total += math.exp(at * math.log(half) - half - math.lgamma(at + 1.0))
        at += 1.0
    return min(total, 1.0)
