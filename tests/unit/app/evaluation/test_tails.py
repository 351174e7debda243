"""Tails of distributions, beside scipy's."""

import pytest

from app.evaluation.tails import chi_square_tail, normal_tails
from tests.unit.app.evaluation.logs import facts


def test_normal() -> None:
    """Both tails are scipy's, far out too."""
    for z, p in facts()["tails"]["normal"]:
        assert normal_tails(z) == pytest.approx(p, rel=1e-12)
        assert normal_tails(-z) == normal_tails(z)


def test_chi_square() -> None:
    """The tail is scipy's for odd and even degrees of freedom."""
    for x, degrees, p in facts()["tails"]["chi_square"]:
        assert chi_square_tail(x, degrees) == pytest.approx(p, rel=1e-12)
