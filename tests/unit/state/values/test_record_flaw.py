"""The short way to call a model sound never accepts what the tests of `flaw` refuse."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.values import record
from state.values.record import Meta, Record

SCALES = st.sampled_from([1e-9, 1e-6, 0.5, 1 - 1e-6, 1.0, 1 + 1e-6, 3.0, 1e6, 1e8, 1e12, 1e200])


@given(st.integers(1, 12), st.integers(0, 2**32), st.lists(SCALES, min_size=12, max_size=12), SCALES)
def test_the_short_way_agrees(d: int, seed: int, eigenvalues: list[float], size: float) -> None:
    """For symmetric matrices of all conditions, about the bound and far from it."""
    draw = np.random.default_rng(seed)
    turn = np.linalg.qr(draw.normal(size=(d, d)))[0]
    a = turn @ np.diag(eigenvalues[:d]) @ turn.T
    a = (a + a.T) / 2
    b = size * draw.normal(size=d)
    if record._is_plainly_sound(a, b):
        assert record._reason(a, b) is None


def test_learned_models_take_the_short_way() -> None:
    """What rewards make is called sound by one decomposition, from the first model on."""
    draw = np.random.default_rng(3)
    a, b = np.eye(12), np.zeros(12)
    for _ in range(200):
        assert record._is_plainly_sound(a, b)
        x = draw.random(12)
        a, b = a + np.outer(x, x), b + draw.uniform(-1, 1) * x


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [(0, 0), (2, 2), (1, 2), (0, 2)])
def test_numbers_that_are_not_finite_do_not(value: float, place: tuple[int, int]) -> None:
    """Wherever they are in A, and in b."""
    a = 2 * np.eye(3)
    a[place] = a[place[::-1]] = value
    assert record.flaw(Record(a, np.zeros(3), Meta())) == "has a number that is not finite"
    assert record.flaw(Record(np.eye(3), np.array([0, value, 0]), Meta())) == "has a number that is not finite"
