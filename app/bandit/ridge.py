"""Ridge regression on the rewards of one user: the sufficient statistics A and b, and the estimates.

A = I + sum of x xᵀ, b = sum of r x, theta = A⁻¹ b (Li, Chu, Langford, Schapire 2010, "A contextual-bandit approach
to personalized news article recommendation", Algorithm 1).
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Matrix",
    "Singular",
    "Solved",
    "Solver",
    "Vector",
    "adjust",
    "faded",
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
# The A (n x d x d) and the b (n x d) of n models.
_Stack = NDArray[np.float64]


class Singular(ArithmeticError):
    """A cannot be solved, or the solution is not finite. A is I plus a sum of squares, so it was damaged elsewhere."""


class Solved(NamedTuple):
    """What follows from A and b, whatever the candidates are: theta (d), and if it is needed the inverse of A, or its
    root (d x d)."""

    theta: Vector
    spread: Matrix | None = None


# Solves any number of models at once: for each, what follows from its A and b, or an error instead. The numbers are to
# the last bit those that the model alone would give.
Solver = Callable[[Sequence[tuple[Matrix, Vector]]], list[Solved | Singular]]
_Stacked = Callable[[_Stack, _Stack], list[Solved]]


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
    one = np.eye(len(b))
    # In this order the diagonal of a column that was always 0 stays exactly 1.
    return one + weight * (a - one), weight * b


def _are_finite(a: Matrix, b: Vector) -> bool:
    """Whether all numbers are finite: then their squares add up to a finite number, unless these are enormous."""
    flat = a.ravel()
    return math.isfinite(flat.dot(flat) + b.dot(b)) or bool(np.isfinite(a).all() and np.isfinite(b).all())


def theta(a: Matrix, b: Vector) -> Vector:
    """The estimate A⁻¹ b (d). Raises Singular."""
    return _alone(_thetas, a, b).theta


def solve(a: Matrix, b: Vector, x: Matrix) -> tuple[Vector, Vector]:
    """theta (d), and the widths sqrt(xᵀA⁻¹x) (k) of the rows of `x` (k x d). Raises Singular."""
    found = _alone(_inverses, a, b)
    return found.theta, widths(found, x)


def widths(solved: Solved, x: Matrix) -> Vector:
    """sqrt(xᵀA⁻¹x) (k) of the rows of `x` (k x d), for what `inverses` gave.

    A is at least I, so no number of the inverse is above 1, and rounding is about 1e-16. Raises Singular for a negative
    number under the root: A is damaged.
    """
    squares = np.vecdot(x @ _spread(solved), x)
    if not squares.min() >= 0.0:
        raise Singular("A is not positive definite")
    return np.asarray(np.sqrt(squares), np.float64)


def parts(solved: Solved, x: Matrix) -> Matrix:
    """P (k x d) with P Pᵀ = x A⁻¹ xᵀ for the rows of `x` (k x d), for what `roots` gave.

    For standard normal z, x·theta + P z are draws of the rows' scores from the posterior.
    """
    found: Matrix = x @ _spread(solved)
    return found


def _spread(solved: Solved) -> Matrix:
    assert solved.spread is not None  # noqa: S101  # the solver of an explorer gives what it needs
    return solved.spread


def thetas(models: Sequence[tuple[Matrix, Vector]]) -> list[Solved | Singular]:
    """Each model's theta."""
    return _by_size(_thetas, models)


def inverses(models: Sequence[tuple[Matrix, Vector]]) -> list[Solved | Singular]:
    """Each model's theta and the inverse of its A."""
    return _by_size(_inverses, models)


def roots(models: Sequence[tuple[Matrix, Vector]]) -> list[Solved | Singular]:
    """Each model's theta and the P with P Pᵀ = A⁻¹.

    By Cholesky's decomposition A = L Lᵀ, whose result does not depend on signs that a library is free to choose, as
    that of a singular value decomposition would: P = L⁻ᵀ.
    """
    return _by_size(_roots, models)


def _by_size(solve: _Stacked, models: Sequence[tuple[Matrix, Vector]]) -> list[Solved | Singular]:
    """Solve all models of one size in one call: numpy takes longer to call than to solve a small one."""
    if len(models) == 1:
        return [_tried(solve, *models[0])]
    places: dict[int, list[int]] = {}
    for place, (_, b) in enumerate(models):
        places.setdefault(len(b), []).append(place)
    found: dict[int, Solved | Singular] = {}
    for d, some in places.items():
        a = np.concatenate([models[place][0] for place in some]).reshape(len(some), d, d)
        b = np.concatenate([models[place][1] for place in some]).reshape(len(some), d)
        try:
            found.update(zip(some, solve(a, b), strict=True))
        except Singular:  # one of them; the others can be solved
            found.update((place, _tried(solve, *models[place])) for place in some)
    return [found[place] for place in range(len(models))]


def _tried(solve: _Stacked, a: Matrix, b: Vector) -> Solved | Singular:
    try:
        return _alone(solve, a, b)
    except Singular as error:
        return error


def _alone(solve: _Stacked, a: Matrix, b: Vector) -> Solved:
    return solve(a[None], b[None])[0]


def _thetas(a: _Stack, b: _Stack) -> list[Solved]:
    try:
        found = np.linalg.solve(a, b[:, :, None])[:, :, 0]
    except np.linalg.LinAlgError as error:
        raise Singular(str(error)) from None
    return [Solved(each) for each in _finite(found)]


def _inverses(a: _Stack, b: _Stack) -> list[Solved]:
    try:
        inverse = _finite(np.linalg.inv(a))
    except np.linalg.LinAlgError as error:
        raise Singular(str(error)) from None
    return list(map(Solved, _times(inverse, _finite(b)), inverse))


def _roots(a: _Stack, b: _Stack) -> list[Solved]:
    try:
        lower = _finite(np.linalg.inv(np.linalg.cholesky(a)))
    except np.linalg.LinAlgError as error:
        raise Singular(str(error)) from None
    upper = np.ascontiguousarray(lower.transpose(0, 2, 1))
    return list(map(Solved, _times(upper, _times(lower, _finite(b))), upper))


def _times(a: _Stack, b: _Stack) -> _Stack:
    """Each matrix times its vector, row by row, so that the bits do not depend on how many there are."""
    return _finite(np.vecdot(a, b[:, None, :]))


def _finite(numbers: NDArray[np.floating[Any]]) -> _Stack:
    if not np.isfinite(numbers).all():
        raise Singular("a number is not finite")
    return np.asarray(numbers, np.float64)
