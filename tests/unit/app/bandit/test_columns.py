"""Columns: base columns and products of them, and their names."""

import numpy as np
import pytest

from app.bandit.columns import Columns, crossed, label_of


@pytest.mark.parametrize(
    ("factors", "label"),
    [(["a"], "a"), (["b", "a"], "a*b"), (["1", "a"], "a"), (["1", "1"], "1"), (["a", "a"], "a*a"), ([], "1")],
)
def test_labels(factors: list[str], label: str) -> None:
    """One name whatever the order; the constant changes nothing, and is the name of the product of nothing."""
    assert label_of(factors) == label


def test_crossed() -> None:
    """In the order of the lists, the first slowest; products of products are products."""
    assert crossed([["1", "b"], ["a", "1", "a*c"]]) == ["a", "1", "a*c", "a*b", "b", "a*b*c"]
    assert crossed([["1", "a"], ["1", "a"]]) == ["1", "a", "a", "a*a"]


BASE = ("1", "a", "b", "c")


@pytest.mark.parametrize("labels", [["a", "b"], ["1", "a", "b", "c"], ["c", "a"], ["a", "a*b", "a*b*c", "1"], ["1"]])
def test_columns_are_products(labels: list[str]) -> None:
    """Of the factors in their names, computed here one by one; in memory of their own, row by row."""
    base = np.random.default_rng(1).uniform(-1, 1, (7, 4))
    base[:, 0] = 1.0
    kept = base.copy()
    found = Columns(labels, BASE).of(base)
    for row, numbers in zip(found, base, strict=True):
        value = dict(zip(BASE, numbers.tolist(), strict=True))
        expected = [float(np.prod([value[factor] for factor in label.split("*")])) for label in labels]
        assert row.tolist() == pytest.approx(expected, abs=1e-15)
    assert found.flags.c_contiguous
    found[:] = 9.0
    assert np.array_equal(base, kept) or labels == list(BASE)


def test_plain_columns_are_the_base_to_the_last_bit() -> None:
    """Side by side or not."""
    base = np.random.default_rng(1).uniform(-1, 1, (5, 4))
    base[:, 0] = 1.0
    assert Columns(["a", "b"], BASE).of(base).tobytes() == base[:, 1:3].tobytes()
    assert Columns(["b", "a", "a*b"], BASE).of(base)[:, :2].tobytes() == base[:, [2, 1]].tobytes()


def test_an_unknown_factor() -> None:
    """It is an error of the caller."""
    with pytest.raises(KeyError):
        Columns(["a*z"], BASE)
