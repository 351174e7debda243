"""Whether a challenger is better than the champion: a bound that holds at all times at once, so that anyone may look.

Everything here comes from E(m) = mean over j of exp(λ_j (ΣD - n m) - ψ_j ΣD²), with λ_j = 2^(-j/2) for j from 1 to 24
and ψ_j = -ln(1 - λ_j) - λ_j. Where D >= -1 and 0 <= λ < 1, exp(λD - ψ(λ)D²) <= 1 + λD, for (ln(1+x) - x)/x² grows with
x (Fan, Grama and Liu 2015, "Exponential inequalities for martingales with applications"). So with Δ the mean of a D
given all that went before, exp(λ(ΣD - ΣΔ) - ψΣD²) is a supermartingale, and so is the mean over j, the method of
mixtures. By Ville's inequality it ever reaches 1/alpha with a probability of at most alpha (Howard, Ramdas, McAuliffe
and Sekhon 2021, "Time-uniform, nonparametric, nonasymptotic confidence sequences", theorem 4 and its proof; for
policies Waudby-Smith, Wu, Ramdas, Karampatziakis and Mineiro 2022, "Anytime-valid off-policy inference for contextual
bandits"). Δ may change with time, and with what was learned: what is bounded is its mean so far.
"""

import math
from typing import Final

import msgspec
import numpy as np

from app.bandit.ridge import Vector
from app.evaluation.sums import Sums

__all__ = ["ALPHA", "MOST_LOST", "Bounds", "bounds", "log_e", "lower", "needed"]

# The chance that any of the intervals of a loop ever misses.
ALPHA: Final = 0.05
# If more decisions than this share lack an outcome, no bound is given.
MOST_LOST: Final = 0.01
_LAMBDAS: Final = 2.0 ** (-np.arange(1, 25) / 2.0)
_PSIS: Final = -np.log1p(-_LAMBDAS) - _LAMBDAS
# No log needs to be longer than so many times itself.
_LONGEST: Final = 2.0**40


class Bounds(msgspec.Struct, frozen=True):
    """What the mean difference between challenger and champion is at least and at most, in the scale of R.

    `log_e_value` is the logarithm of the evidence that the challenger is better: the e-value is at least 1/alpha
    with a probability of at most alpha if it is not. `n` decisions were read. `needed` is how many more would make
    `low` positive if the difference stays as it was: 0 if it is, None if no number would. `refused`: why there is no
    bound, else "".
    """

    low: float
    high: float
    log_e_value: float
    n: int
    needed: int | None
    refused: str = ""


def bounds(sums: Sums, challengers: int = 1) -> Bounds:
    """The gate of one of so many `challengers`, all of which together may err with probability 0.05.

    D = (1-s)(e-c)/h R and U = (1-s)(e-c)/h (1-R). Both are at least -1: s is the share of whatever canary there was, so
    h is at least (1-s)c. D is bounded from below for `low`, U for `high`, each with half of 0.05 / `challengers`.
    """
    read = sums.of_gate()
    n, lost = read.total("gate_n"), read.total("gate_lost")
    d, d2, u, u2 = (read.total(column) for column in ("d", "d2", "u", "u2"))
    alpha = ALPHA / 2.0 / challengers
    refused = ""
    if lost > MOST_LOST * (n + lost):
        refused = f"{lost / (n + lost):.1%} of its decisions have no outcome, and silence does not count as one"
    elif read.total("broken"):
        refused = "the propensities are below the champion's part in them, so no bound holds"
    if refused or not n:
        return Bounds(-1.0, 1.0, 0.0, int(n), None, refused)
    scale = 1.0 / (1.0 - read.total("share") / n)
    low, high = max(-1.0, lower(n, d, d2, alpha) * scale), min(1.0, -lower(n, u, u2, alpha) * scale)
    return Bounds(low, high, float(log_e(n, d, d2)), int(n), needed(n, d, d2, alpha))


def log_e(n: Vector | float, total: Vector | float, squares: Vector | float, mean: Vector | float = 0.0) -> Vector:
    """ln E(`mean`), from arrays of one shape with n, ΣD and ΣD²: evidence that the mean so far is greater."""
    shifted = np.asarray(total - n * mean, np.float64)[..., None]
    exponents = _LAMBDAS * shifted - _PSIS * np.asarray(squares, np.float64)[..., None]
    most = exponents.max(axis=-1)
    return np.asarray(most + np.log(np.exp(exponents - most[..., None]).mean(axis=-1)), np.float64)


def lower(n: float, total: float, squares: float, alpha: float) -> float:
    """The lower bound of the mean of D: the m with E(m) = 1/alpha, by bisection to the last bit. E falls with m."""
    wanted = -math.log(alpha)
    high = total / n  # E is at most 1 there
    step = 1.0
    while log_e(n, total, squares, high - step) < wanted:
        step *= 2.0
    low = high - step
    while low < (middle := (low + high) / 2.0) < high:
        if log_e(n, total, squares, middle) < wanted:
            high = middle
        else:
            low = middle
    return low


def needed(n: float, total: float, squares: float, alpha: float) -> int | None:
    """How many more decisions make the lower bound positive, if each of the three sums grows in proportion to n.

    ln E(0) of k times the sums is a convex function of k with the value 0 at 0: it reaches ln(1/alpha) if it
    ever grows.
    """

    def is_enough(times: float) -> bool:
        return bool(log_e(times * n, times * total, times * squares) >= -math.log(alpha))

    if is_enough(1.0):
        return 0
    low, high = 1.0, 2.0
    while not is_enough(high):
        low, high = high, high * 2.0
        if high > _LONGEST:
            return None
    while (high - low) * n > 1.0 and (high - low) > 1e-6 * high:
        middle = (low + high) / 2.0
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return math.ceil((high - 1.0) * n)
