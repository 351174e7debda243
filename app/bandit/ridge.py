"""Ridge regression on the rewards of one user: the sufficient statistics A and b, and the estimates.

A = I + sum of x xᵀ, b = sum of r x, theta = A⁻¹ b (Li, Chu, Langford, Schapire 2010, "A contextual-bandit approach
to personalized news article recommendation", Algorithm 1).
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Matrix",
    "Singular",
    "Solved",
    "Stack",
    "Vector",
    "adjust",
    "faded",
    "identity",
    "inverses",
    "observe",
    "parts",
    "prior",
    "roots",
    "solve",
    "theta",
    "thetas",
    "widths",
]

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
# Matrices of one size, such as the A (n x d x d) of n models.
Stack = NDArray[np.float64]
# OpenBLAS takes threads for longer vectors, which then wait for more to do, at full speed, for longer than a request.
_LONGEST_DOT: Final = 10_000


class Singular(ArithmeticError):
    """A cannot be solved, or the solution is not finite. A is I plus a sum of squares, so it was damaged elsewhere."""


class Solved(NamedTuple):
    """What follows from the A and b of n models, whatever the candidates are: theta (n x d), and if it is needed the
    inverse of each A, or its root (n x d x d). The numbers of a model are to the last bit those that it has alone."""

    theta: Matrix
    spread: NDArray[np.floating[Any]] | None = None

    def of(self, places: Sequence[int]) -> "Solved":
        """The same of some of the models."""
        return Solved(self.theta[places], None if self.spread is None else self.spread[places])


def prior(d: int) -> tuple[Matrix, Vector]:
    """A and b before any reward: the identity (d x d) and zeros (d)."""
    return np.eye(d), np.zeros(d)


@lru_cache(32)
def identity(d: int) -> Matrix:
    """The identity (d x d), which cannot be written to."""
    found = np.eye(d)
    found.flags.writeable = False
    return found


def observe(a: Matrix, b: Vector, x: Vector, reward: float, forget: float = 1.0) -> tuple[Matrix, Vector]:
    """New A and b after `reward` for features `x` (d); the arguments are not changed.

    `forget` (0 < forget <= 1) is the weight of the past: A - I and b are multiplied by it first. So A never falls below
    I, even in columns that stay 0 (Kulhavy and Zarrop 1993, "On a general concept of forgetting"). Raises Singular if A
    or b is not finite: the reward would be lost.
    """
    if forget != 1.0:
        a, b = faded(a, b, forget)
    # A sum of one product is that product, to the last bit, and `dot` takes half as long as `*`.
    a, b = a + x[:, None].dot(x[None]), b + reward * x
    if not _are_finite(a, b):
        raise Singular("A or b is not finite")
    return a, b


def adjust(a: Matrix, b: Vector, x: Vector, *, seen: float, change: float) -> tuple[Matrix, Vector]:
    """A + seen·xxᵀ and b + change·x: what corrects or takes back a reward for features `x` (d). Raises Singular."""
    if seen:
        a = a + seen * np.multiply.outer(x, x)
    b = b + change * x
    if not _are_finite(a, b):
        raise Singular("A or b is not finite")
    return a, b


def faded(a: Matrix, b: Vector, weight: float) -> tuple[Matrix, Vector]:
    """A and b with what was learned multiplied by `weight`."""
    one = identity(len(b))
    # In this order the diagonal of a column that was always 0 stays exactly 1.
    return one + weight * (a - one), weight * b


def _are_finite(a: NDArray[np.floating[Any]], b: Vector) -> bool:
    return _is_finite(a.ravel()) and _is_finite(b)


def _is_finite(flat: NDArray[np.floating[Any]]) -> bool:
    """Whether all numbers are finite: then their squares add up to a finite number, unless these are enormous."""
    if len(flat) <= _LONGEST_DOT and math.isfinite(flat.dot(flat)):
        return True
    return bool(np.isfinite(flat).all())


def theta(a: Matrix, b: Vector) -> Vector:
    """The estimate A⁻¹ b (d). Raises Singular."""
    found: Vector = thetas(a[None], b[None]).theta[0]
    return found


def solve(a: Matrix, b: Vector, x: Matrix) -> tuple[Vector, Vector]:
    """theta (d), and the widths sqrt(xᵀA⁻¹x) (k) of the rows of `x` (k x d). Raises Singular."""
    found = inverses(a[None], b[None])
    return found.theta[0], widths(found, x[None])[0]


def widths(solved: Solved, x: Stack) -> Matrix:
    """sqrt(xᵀA⁻¹x) (n x k) of the rows of `x` (n x k x d), for what `inverses` gave.

    A is at least I, so no number of the inverse is above 1, and rounding is about 1e-16. Raises Singular for a negative
    number under the root: an A is damaged.
    """
    squares = np.vecdot(parts(solved, x), x)
    if not squares.min() >= 0.0:
        raise Singular("A is not positive definite")
    return np.asarray(np.sqrt(squares), np.float64)


def parts(solved: Solved, x: Stack) -> Stack:
    """P (n x k x d) with P Pᵀ = x A⁻¹ xᵀ for the rows of `x` (n x k x d), for what `roots` gave.

    For standard normal z, x·theta + P z are draws of the rows' scores from the posterior.
    """
    assert solved.spread is not None  # noqa: S101  # an explorer solves for what it needs
    found: Stack = x @ solved.spread
    return found


def thetas(a: Stack, b: Matrix) -> Solved:
    """The theta of each of n models, from their A (n x d x d) and b (n x d), as all that follow take them.

    All of one size are solved in one call: numpy takes longer to call than to solve a small one. Raises Singular if one
    of them cannot be solved.
    """
    try:
        found = np.linalg.solve(a, b[:, :, None])[:, :, 0]
    except np.linalg.LinAlgError as error:
        raise Singular(str(error)) from None
    return Solved(_finite(found))


def inverses(a: Stack, b: Matrix) -> Solved:
    """Each model's theta and the inverse of its A. Raises Singular."""
    try:
        inverse = np.linalg.inv(a)
    except np.linalg.LinAlgError as error:
        raise Singular(str(error)) from None
    return Solved(_times(inverse, b), inverse)


def roots(a: Stack, b: Matrix) -> Solved:
    """Each model's theta and the P with P Pᵀ = A⁻¹. Raises Singular.

    By Cholesky's decomposition A = L Lᵀ, whose result does not depend on signs that a library is free to choose, as
    that of a singular value decomposition would: P = L⁻ᵀ.
    """
    try:
        lower = np.linalg.inv(np.linalg.cholesky(a))
    except np.linalg.LinAlgError as error:
        raise Singular(str(error)) from None
    upper = np.ascontiguousarray(lower.transpose(0, 2, 1))
    return Solved(_times(upper, _times(lower, b)), upper)


def _times(a: NDArray[np.floating[Any]], b: Matrix) -> Matrix:
    """Each matrix times its vector, row by row, so that the bits do not depend on how many there are. Raises Singular
    for numbers that are not finite."""
    if not _are_finite(a, b.ravel()):  # numpy would warn
        raise Singular("a number is not finite")
    return _finite(np.vecdot(a, b[:, None, :]))


def _finite(numbers: NDArray[np.floating[Any]]) -> Stack:
    if not _is_finite(numbers.ravel()):
        raise Singular("a number is not finite")
    return np.asarray(numbers, np.float64)
