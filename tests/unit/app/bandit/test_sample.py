"""The uniform numbers of a seed, and the draw by propensities."""

import math
from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.bandit.sample import normals, sample, uniform

# Of a chi-square variable with few degrees of freedom, seen with odds of 1e-9 (k - 1 degrees: the key).
UNLIKELY = {1: 37.3, 2: 41.4, 3: 44.8, 4: 48.1, 5: 51.0, 9: 61.0, 15: 74.0}


def seen(counts: list[int], propensities: list[float]) -> None:
    """The counts are what the propensities give (chi-square at odds of 1e-9)."""
    assert all(count == 0 for count, p in zip(counts, propensities, strict=True) if p == 0.0)
    freedom = sum(p > 0 for p in propensities) - 1
    assert not freedom or chi_square(counts, propensities) < UNLIKELY[freedom]


def chi_square(counts: list[int], propensities: list[float]) -> float:
    n = sum(counts)
    return sum((count - n * p) ** 2 / (n * p) for count, p in zip(counts, propensities, strict=True) if p)


def test_equal_seeds_give_equal_numbers_on_every_machine() -> None:
    """The numbers are a function of seed, policy and purpose: these are what every machine must find."""
    found = [uniform(seed, "egreedy-v1", "sample") for seed in (0, 1, 2**64 - 1)]
    assert found == [0.6831721218266569, 0.3878224305418295, 0.27470336730662304]


def test_equal_seeds_give_equal_normal_numbers() -> None:
    """They too are a function of seed, policy and purpose, and of their shape."""
    assert normals(1, "p", "draws", (2, 2)).tolist() == [
        [-0.28274395085265286, 0.3801131861009379],
        [0.37391204292911534, -0.3362761684451407],
    ]
    other = [normals(1, "q", "draws", (2, 2)), normals(1, "p", "sample", (2, 2)), normals(2, "p", "draws", (2, 2))]
    assert len({each.tobytes() for each in other} | {normals(1, "p", "draws", (2, 2)).tobytes()}) == 4


def test_normal_numbers_are_normal() -> None:
    """Over 2,000 seeds they fill eight parts evenly that are equally likely, and so do those of one seed."""
    edges = [-1.1503493803760079, -0.6744897501960817, -0.31863936396437514, 0.0]
    edges += [-edge for edge in reversed(edges[:-1])]
    for numbers in (
        np.array([normals(seed, "p", "draws", (1, 1)) for seed in range(2_000)]),
        normals(0, "p", "d", (50, 64)),
    ):
        counts = np.bincount(np.searchsorted(edges, numbers.ravel()), minlength=8).tolist()
        assert chi_square(counts, [1 / 8] * 8) < UNLIKELY[9]


@given(st.integers(0, 2**64 - 1))
def test_streams_differ(seed: int) -> None:
    """Another policy, and another purpose, has another number of the same seed; all lie in [0, 1)."""
    numbers = [uniform(seed, policy, purpose) for policy in ("a", "b") for purpose in ("sample", "draws")]
    assert len(set(numbers)) == 4
    assert all(0.0 <= number < 1.0 for number in numbers)


def test_numbers_are_uniform() -> None:
    """Ten thousand seeds in a row fill sixteen parts evenly (chi-square at odds of 1e-9)."""
    counts = [0] * 16
    for seed in range(10_000):
        counts[int(uniform(seed, "p", "sample") * 16)] += 1
    assert chi_square(counts, [1 / 16] * 16) < UNLIKELY[15]


def test_streams_are_independent() -> None:
    """The numbers of two purposes fill a four by four table evenly (chi-square at odds of 1e-9)."""
    counts = [0] * 16
    for seed in range(10_000):
        one, other = uniform(seed, "p", "sample"), uniform(seed, "p", "draws")
        counts[int(one * 4) * 4 + int(other * 4)] += 1
    assert chi_square(counts, [1 / 16] * 16) < UNLIKELY[15]


@pytest.mark.parametrize(
    ("propensities", "at", "index", "rest"),
    [
        ([1.0], 0.0, 0, 0.0),
        ([1.0], 0.999, 0, 0.999),
        ([0.25, 0.75], 0.0, 0, 0.0),
        ([0.25, 0.75], 0.2, 0, 0.2),
        ([0.25, 0.75], 0.25, 1, 0.0),
        ([0.25, 0.75], 0.5, 1, 0.25),
        ([0.0, 1.0], 0.0, 1, 0.0),
        ([0.5, 0.0, 0.5], 0.5, 2, 0.0),
        ([0.0, 0.0, 1.0], 0.0, 2, 0.0),
        ([1.0, 0.0], 0.999, 0, 0.999),
    ],
)
def test_each_part_begins_where_the_one_before_ends(
    propensities: list[float], at: float, index: int, rest: float
) -> None:
    """The number says into whose part it falls, and how far; a candidate without a part is never drawn."""
    found, how_far = sample(propensities, at)
    assert found == index
    assert how_far == pytest.approx(rest)


def test_a_sum_that_rounding_left_below_one() -> None:
    """A number above the sum belongs to the last candidate that has a part."""
    propensities = [1 / 7] * 7 + [0.0]
    assert list(accumulate(propensities))[-1] < 1.0 - 2.0**-53  # sum() corrects rounding since Python 3.12
    assert sample(propensities, 1.0 - 2.0**-53)[0] == 6


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50).filter(lambda weights: sum(weights) > 0), st.floats(0, 1))
def test_no_candidate_without_a_part_is_drawn(weights: list[float], at: float) -> None:
    """Whatever the propensities and the number are, the drawn candidate has a propensity above 0."""
    total = math.fsum(weights)
    propensities = [weight / total for weight in weights]
    index, _ = sample(propensities, min(at, 1.0 - 2.0**-53))
    assert propensities[index] > 0.0


@pytest.mark.parametrize("propensities", [[0.5, 0.5], [0.9, 0.05, 0.05], [0.0, 0.3, 0.7], [0.1] * 10])
def test_frequencies_are_the_propensities(propensities: list[float]) -> None:
    """Over 20,000 seeds each candidate is drawn as often as its propensity says (chi-square at odds of 1e-9)."""
    counts = [0] * len(propensities)
    for seed in range(20_000):
        counts[sample(propensities, uniform(seed, "p", "sample"))[0]] += 1
    seen(counts, propensities)
