"""The ridge regression, against the textbook."""

import math

import numpy as np
import pytest
from hypothesis import given

from app.bandit.ridge import Singular, observe, prior, solve, theta
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
