"""The ridge regression, against the textbook."""

import math
import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given

from app.bandit.ridge import (
    Matrix,
    Singular,
    Vector,
    adjust,
    faded,
    identity,
    inverses,
    observe,
    parts,
    prior,
    roots,
    solve,
    theta,
    thetas,
)
from tests.unit.app.bandit.samples import SHAPES, history, learned


def test_prior() -> None:
    """Before any reward A is the identity, b and theta are zero."""
    a, b = prior(3)
    assert np.array_equal(a, np.eye(3))
    assert b.tolist() == [0.0] * 3
    assert theta(a, b).tolist() == [0.0] * 3


@given(SHAPES)
def test_theta_is_ridge_regression(shape: tuple[int, int, int]) -> None:
    """theta solves least squares with one more row per feature that pulls it to zero; A and b are the plain sums."""
    x, rewards = history(*shape)
    a, b = learned(x, rewards)
    d = x.shape[1]
    expected = np.linalg.lstsq(np.vstack([x, np.eye(d)]), np.concatenate([rewards, np.zeros(d)]), rcond=None)[0]
    assert np.allclose(theta(a, b), expected, atol=1e-9)
    assert np.allclose(a, np.eye(d) + x.T @ x)
    assert np.allclose(b, x.T @ rewards)


@given(SHAPES)
def test_a_stays_symmetric_and_positive_definite(shape: tuple[int, int, int]) -> None:
    """No rewards can make A unsolvable: its least eigenvalue stays at least 1."""
    a, _ = learned(*history(*shape))
    assert np.array_equal(a, a.T)
    assert np.linalg.eigvalsh(a).min() >= 1 - 1e-9


def test_observe_leaves_its_arguments() -> None:
    """New arrays come out, and read-only ones may go in, as they come from Redis."""
    a, b = prior(2)
    x = np.array([1.0, 2.0])
    for array in (a, b, x):
        array.flags.writeable = False
    new_a, new_b = observe(a, b, x, -0.5)
    assert new_a.tolist() == [[2.0, 2.0], [2.0, 5.0]]
    assert new_b.tolist() == [-0.5, -1.0]
    assert (a.tolist(), b.tolist(), x.tolist()) == ([[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0], [1.0, 2.0])


@pytest.mark.parametrize("damaged", [math.nan, math.inf])
def test_nothing_is_learned_into_damaged_numbers(damaged: float) -> None:
    """A reward added to NaN or infinity would be lost, so it is refused."""
    with pytest.raises(Singular):
        observe(np.diag([1.0, damaged]), np.zeros(2), np.ones(2), 1.0)
    with pytest.raises(Singular):
        observe(np.eye(2), np.array([damaged, 0.0]), np.ones(2), 1.0)


def test_damaged_estimates_are_singular() -> None:
    """theta is refused as well when it has no finite value."""
    with pytest.raises(Singular):
        theta(np.zeros((2, 2)), np.ones(2))
    with pytest.raises(Singular):
        theta(np.eye(2), np.array([math.nan, 0.0]))
    with pytest.raises(Singular):
        solve(-np.eye(2), np.zeros(2), np.ones((1, 2)))
    with pytest.raises(Singular):
        roots(-np.eye(2)[None], np.zeros((1, 2)))


@given(SHAPES)
def test_the_posterior_is_that_of_the_textbook(shape: tuple[int, int, int]) -> None:
    """Its estimate is theta, and what normal numbers are multiplied by is a root of x A⁻¹ xᵀ."""
    a, b = learned(*history(*shape))
    x, _ = history(shape[0] + 1, shape[1], 9)
    solved = roots(a[None], b[None])
    [root] = parts(solved, x[None])
    assert solved.theta[0] == pytest.approx(theta(a, b), abs=1e-9)
    assert root.shape == x.shape
    assert root @ root.T == pytest.approx(x @ np.linalg.inv(a) @ x.T, abs=1e-9)


@pytest.mark.parametrize("forget", [0.5, 0.9, 0.998])
def test_what_was_learned_fades(forget: float) -> None:
    """The i-th last reward has the weight forget^i, and the identity all of its own."""
    x, rewards = history(3, 4, 12)
    a, b = prior(4)
    for row, reward in zip(x, rewards, strict=True):
        a, b = observe(a, b, row, float(reward), forget)
    weights = forget ** np.arange(11, -1, -1)
    assert a == pytest.approx(np.eye(4) + (x.T * weights) @ x, abs=1e-12)
    assert b == pytest.approx(x.T @ (weights * rewards), abs=1e-12)
    assert np.array_equal(a, a.T)


def test_fading_leaves_its_arguments_and_the_prior() -> None:
    """Nothing of the prior fades; a weight of 1 changes no bit."""
    a, b = learned(*history(1, 5, 9))
    kept = a.copy(), b.copy()
    faded(a, b, 0.5)
    assert np.array_equal(a, kept[0])
    assert np.array_equal(b, kept[1])
    assert np.array_equal(faded(*prior(5), 0.5)[0], np.eye(5))
    row = np.linspace(-1, 1, 5)
    assert observe(a, b, row, 0.5, 1.0)[0].tobytes() == (a + np.outer(row, row)).tobytes()


def test_a_million_rewards_with_columns_that_never_occur() -> None:
    """With forgetting A stays positive definite and well-conditioned, where without the floor it would not.

    A thousand rewards are learned one by one, a thousand times: each time what was there before fades by all of them.
    """
    forget, period, d = 0.999, 1_000, 8
    rows, _ = history(5, d, period)
    rows[:, 5:] = 0.0

    def rewarded(a: Matrix, b: Vector) -> tuple[Matrix, Vector]:
        for row in rows:
            a, b = observe(a, b, row, 1.0, forget)
        return a, b

    once_a, once_b = rewarded(*prior(d))
    a, b = once_a, once_b
    for time in range(999):
        a, b = faded(a, b, forget**period)
        a, b = a + (once_a - np.eye(d)), b + once_b
        if time == 0:
            assert a == pytest.approx(rewarded(once_a, once_b)[0], abs=1e-9)
    assert np.linalg.eigvalsh(a).min() >= 1.0 - 1e-9
    assert np.linalg.cond(a) < 1e4
    assert a[5:, 5:].tolist() == np.eye(3).tolist()
    assert np.abs(theta(a, b)).max() < 10


def test_a_correction_that_is_not_finite() -> None:
    """It is refused, whether A or b is damaged."""
    for a, b in ((np.full((2, 2), np.nan), np.zeros(2)), (np.eye(2), np.array([np.inf, 0.0]))):
        with pytest.raises(Singular):
            adjust(a, b, np.ones(2), seen=-1.0, change=0.5)
    kept, moved = adjust(np.eye(2), np.zeros(2), np.ones(2), seen=0.0, change=0.5)
    assert (kept.tolist(), moved.tolist()) == ([[1.0, 0.0], [0.0, 1.0]], [0.5, 0.5])


def test_models_solved_together_are_those_solved_alone() -> None:
    """To the last bit; one that is damaged leaves nothing to any."""
    for d in (1, 3, 5, 16):
        a, b = map(np.array, zip(*(learned(*history(seed, d, 9)) for seed in range(7)), strict=True))
        for solver in (thetas, inverses, roots):
            found = solver(a, b)
            for place in range(7):
                alone = solver(a[place][None], b[place][None])
                some = found.of([place])
                assert alone.theta.tobytes() == some.theta.tobytes() == found.theta[place].tobytes()
                assert (alone.spread is None) == (some.spread is None) == (solver is thetas)
                if alone.spread is not None and some.spread is not None:
                    assert alone.spread.tobytes() == some.spread.tobytes()
            for odd in (np.nan, np.inf):
                damaged = b.copy()
                damaged[3, 0] = odd
                with pytest.raises(Singular):
                    solver(a, damaged)
    with warnings.catch_warnings(action="error"), pytest.raises(Singular):
        inverses(np.eye(2)[None], np.array([[math.inf, 0.0]]))


def test_the_identity_is_shared() -> None:
    """And nobody can change it."""
    assert identity(3) is identity(3)
    assert np.array_equal(identity(3), np.eye(3))
    with pytest.raises(ValueError, match="read-only"):
        identity(3)[0, 0] = 2.0


@pytest.mark.parametrize("models", [2, 40])
def test_of_many_models_one_is_damaged(models: int) -> None:
    """It is noticed among few numbers, and among so many that they are looked at in another way."""
    a, b = np.repeat(identity(16)[None], models, 0), np.ones((models, 16))
    inverses(a, b)
    a[-1, -1, -1] = math.nan
    with pytest.raises(Singular):
        inverses(a, b)


_ELSEWHERE = """
import time
import numpy as np
from app.bandit.ridge import inverses
def others():
    return time.process_time() - time.thread_time()
before = -1.0
while others() > before + 1e-4:  # until those that numpy began with are at rest
    before = others()
    sum(range(500_000))
before = others()
for _ in range(20):
    inverses(np.repeat(np.eye(16)[None], 64, 0), np.ones((64, 16)))
print(others() - before)
"""


def test_no_thread_is_taken_for_many_numbers() -> None:
    """OpenBLAS's threads go on turning for a while after a long dot product, and take the processor from all else."""
    done = subprocess.run([sys.executable, "-c", _ELSEWHERE], stdout=subprocess.PIPE, check=True)
    assert float(done.stdout) < 0.001  # seconds of processor time of other threads
