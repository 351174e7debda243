"""Ridge regression on the rewards of one user: the sufficient statistics A and b, and the estimates.

A = I + sum of x xᵀ, b = sum of r x, theta = A⁻¹ b (Li, Chu, Langford, Schapire 2010, "A contextual-bandit approach
to personalized news article recommendation", Algorithm 1).
"""

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["Matrix", "Singular", "Vector", "adjust", "faded", "observe", "posterior", "prior", "solve", "theta"]

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]


class Singular(ArithmeticError):
    """A cannot be solved, or the solution is not finite. A is I plus a sum of squares, so it was damaged elsewhere."""


def prior(d: int) -> tuple[Matrix, Vector]:
    """A and b before any reward: the identity (d x d) and zeros (d)."""
    return np.eye(d), np.zeros(d)


def observe(a: Matrix, b: Vector, x: Vector, reward: float, forget: float = 1.0) -> tuple[Matrix, Vector]:
    """New A and b after `reward` for features `x` (d); the arguments are not changed.

    `forget` (0 < forget <= 1) is the weight of the past: A - I and b are multiplied by it first. So A never falls below
    I, even in columns that stay 0 (Kulhavy and Zarrop 1993, "On a general concept of forgetting"). Raises Singular if A
    or b is not finite: the reward would be lost.
    """
    if forget != 1.0:
        a, b = faded(a, b, forget)
    a, b = a + np.multiply.outer(x, x), b + reward * x
    if not (_is_finite(b) and np.isfinite(a).all()):
        raise Singular("A or b is not finite")
    return a, b


def adjust(a: Matrix, b: Vector, x: Vector, *, seen: float, change: float) -> tuple[Matrix, Vector]:
    """A + seen·xxᵀ and b + change·x: what corrects or takes back a reward for features `x` (d). Raises Singular."""
    if seen:
        a = a + seen * np.multiply.outer(x, x)
    b = b + change * x
    if not (_is_finite(b) and np.isfinite(a).all()):
        raise Singular("A or b is not finite")
    return a, b


def faded(a: Matrix, b: Vector, weight: float) -> tuple[Matrix, Vector]:
    """A and b with what was learned multiplied by `weight`."""
    one = np.eye(len(b))
    # In this order the diagonal of a column that was always 0 stays exactly 1.
    return one + weight * (a - one), weight * b


def _is_finite(vector: Vector) -> bool:
    """Whether all numbers are finite; for a few, numpy's own test takes three times as long."""
    return all(map(math.isfinite, vector.tolist()))


def _solve(a: Matrix, columns: NDArray[np.float64]) -> NDArray[np.float64]:
    try:
        return np.asarray(np.linalg.solve(a, columns), np.float64)
    except np.linalg.LinAlgError as error:
        raise Singular(str(error)) from None


def theta(a: Matrix, b: Vector) -> Vector:
    """The estimate A⁻¹ b (d). Raises Singular."""
    found = _solve(a, b)
    if not _is_finite(found):
        raise Singular("theta is not finite")
    return found


def solve(a: Matrix, b: Vector, x: Matrix) -> tuple[Vector, Vector]:
    """theta (d), and the widths sqrt(xᵀA⁻¹x) (k) of the rows of `x` (k x d), in one factorisation of A.

    Raises Singular, also for a negative number under the root: A is damaged.
    """
    columns = np.concatenate((b[:, None], x.T), axis=1)
    solved = _solve(a, columns)
    squares = np.vecdot(x, solved[:, 1:].T)
    if not squares.min() >= 0.0:
        raise Singular("A is not positive definite")
    return solved[:, 0], np.sqrt(squares)


def posterior(a: Matrix, b: Vector, x: Matrix) -> tuple[Vector, Matrix]:
    """theta (d), and for the rows of `x` (k x d) the P (k x d) with P Pᵀ = x A⁻¹ xᵀ.

    For standard normal z, x·theta + P z are draws of the rows' scores from the posterior.

    By Cholesky's decomposition A = L Lᵀ, whose result does not depend on signs that a library is free to choose, as
    that of a singular value decomposition would: P = x L⁻ᵀ. Raises Singular.
    """
    try:
        lower = np.asarray(np.linalg.cholesky(a), np.float64)
    except np.linalg.LinAlgError as error:
        raise Singular(str(error)) from None
    half = _solve(lower, np.concatenate((b[:, None], x.T), axis=1))
    parts = np.ascontiguousarray(half[:, 1:].T)
    return _solve(np.ascontiguousarray(lower.T), half[:, 0]), parts
