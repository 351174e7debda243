"""The ridge regression and the explorers: against the textbook, and against chance."""

import math
import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.bandit.explore import Draw, EpsilonGreedy, UpperConfidence
from app.bandit.features import Context, Matrix, Vector
from app.bandit.registry import policies
from app.bandit.ridge import Singular, observe, prior, solve, theta
from tests.test_bandit_features import Task

GREEDY = Draw(0.999, 0.0)


def history(seed: int, d: int, n: int) -> tuple[Matrix, Vector]:
    """n seen rows of features and their rewards."""
    numbers = np.random.default_rng(seed)
    return numbers.uniform(-1, 1, (n, d)), numbers.choice([-1.0, -0.5, 0.0, 0.5, 1.0], n)


def learned(x: Matrix, rewards: Vector) -> tuple[Matrix, Vector]:
    a, b = prior(x.shape[1])
    for row, reward in zip(x, rewards, strict=True):
        a, b = observe(a, b, row, float(reward))
    return a, b


shapes = st.tuples(st.integers(0, 2**32), st.sampled_from([5, 7, 12]), st.integers(0, 60))


def test_prior() -> None:
    """Before any reward A is the identity, b and theta are zero."""
    a, b = prior(3)
    assert np.array_equal(a, np.eye(3))
    assert b.tolist() == [0.0] * 3
    assert theta(a, b).tolist() == [0.0] * 3


@given(shapes)
def test_theta_is_ridge_regression(shape: tuple[int, int, int]) -> None:
    """theta solves least squares with one more row per feature that pulls it to zero; A and b are the plain sums."""
    x, rewards = history(*shape)
    a, b = learned(x, rewards)
    d = x.shape[1]
    expected = np.linalg.lstsq(np.vstack([x, np.eye(d)]), np.concatenate([rewards, np.zeros(d)]), rcond=None)[0]
    assert np.allclose(theta(a, b), expected, atol=1e-9)
    assert np.allclose(a, np.eye(d) + x.T @ x)
    assert np.allclose(b, x.T @ rewards)


@given(shapes)
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


@given(shapes, st.floats(0, 10), st.integers(1, 12))
def test_upper_confidence_is_the_textbooks(shape: tuple[int, int, int], alpha: float, k: int) -> None:
    """The picked row has the highest theta·x + alpha sqrt(xᵀ A⁻¹ x), computed by the inverse, row by row."""
    a, b = learned(*history(*shape))
    x, _ = history(shape[0] + 1, shape[1], k)
    inverse = np.linalg.inv(a)
    scores = [float((inverse @ b) @ row + alpha * math.sqrt(row @ inverse @ row)) for row in x]
    choice = UpperConfidence(alpha).choose(a, b, x, Draw(0.0, 0.0))
    assert choice.score == pytest.approx(max(scores), abs=1e-9)
    assert scores[choice.index] == pytest.approx(max(scores), abs=1e-9)
    assert (choice.probability, choice.explored) == (1.0, False)


@pytest.mark.parametrize("explorer", [UpperConfidence(1.0), EpsilonGreedy(0.1)])
def test_the_first_of_equals_wins(explorer: UpperConfidence | EpsilonGreedy) -> None:
    """Equal rows, and rows that differ by rounding alone, tie; the first is picked wherever the ties stand."""
    a, b = learned(*history(1, 5, 30))
    best = 10 * theta(a, b)
    for k in range(2, 40):
        for first in range(0, k, 3):
            x = np.zeros((k, 5))
            x[first:] = best
            assert explorer.choose(a, b, x, GREEDY).index == first
    a, b = np.eye(1), np.ones(1)
    x = np.array([[0.5], [1.0 - 5e-13], [1.0]])
    assert explorer.choose(a, b, x, GREEDY).index == 1
    x[1] = 1.0 - 5e-12
    assert explorer.choose(a, b, x, GREEDY).index == 2


def test_epsilon_greedy_explores_as_drawn() -> None:
    """Below epsilon the second number picks the row, answered with its own score; else the best is taken."""
    a, b = np.eye(1), np.ones(1)
    x = np.array([[0.1], [0.4], [0.2], [0.3]])
    explorer = EpsilonGreedy(0.2)
    assert [explorer.choose(a, b, x, Draw(0.19, pick)).index for pick in (0.0, 0.25, 0.5, 0.9999999)] == [0, 1, 2, 3]
    explored = explorer.choose(a, b, x, Draw(0.0, 0.6))
    assert (explored.score, explored.explored) == (0.2, True)
    assert explored.probability == pytest.approx(0.05)
    greedy = explorer.choose(a, b, x, Draw(0.2, 0.6))
    assert (greedy.index, greedy.score, greedy.explored) == (1, 0.4, False)
    assert greedy.probability == pytest.approx(0.85)
    # Exploration may hit on the best: it is likelier than either way alone.
    assert explorer.choose(a, b, x, Draw(0.0, 0.3)).probability == pytest.approx(0.85)


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.5, 1.0])
def test_probabilities_are_frequencies(epsilon: float) -> None:
    """Over many seeded draws each row is picked as often as its probability says (chi-square, p > 0.001)."""
    a, b = learned(*history(7, 7, 30))
    x, _ = history(8, 7, 6)
    chance, n = random.Random(1), 20_000
    picked: Counter[int] = Counter()
    said: dict[int, float] = {}
    for _ in range(n):
        choice = EpsilonGreedy(epsilon).choose(a, b, x, Draw(chance.random(), chance.random()))
        picked[choice.index] += 1
        said[choice.index] = choice.probability
    assert sum(said.values()) == pytest.approx(1.0)
    assert sum((picked[row] - n * p) ** 2 / (n * p) for row, p in said.items()) < 20.5


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (np.zeros((2, 2)), np.zeros(2)),
        (np.ones((2, 2)), np.ones(2)),
        (-np.eye(2), np.zeros(2)),
        (np.full((2, 2), math.nan), np.zeros(2)),
        (np.eye(2), np.array([math.nan, 0.0])),
        (np.eye(2), np.array([math.inf, 0.0])),
    ],
)
def test_damaged_numbers_are_singular(a: Matrix, b: Vector) -> None:
    """A that no sum of squares can be, or numbers that are none, raise Singular and never give a score."""
    x = np.array([[1.0, 2.0], [0.5, 0.5]])
    with pytest.raises(Singular):
        UpperConfidence(1.0).choose(a, b, x, GREEDY)
    if not (a == -np.eye(2)).all():  # epsilon-greedy has no use for widths
        with pytest.raises(Singular):
            EpsilonGreedy(0.1).choose(a, b, x, GREEDY)


@pytest.mark.parametrize("damaged", [math.nan, math.inf])
def test_nothing_is_learned_into_damaged_numbers(damaged: float) -> None:
    """A reward on top of what is no number would be lost, so it is refused."""
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


@pytest.mark.parametrize("policy", policies(1.0, 0.1).values(), ids=lambda policy: policy.id)
def test_a_policy_learns(policy: object) -> None:
    """Rewards for overdue tasks alone: they are preferred then, and theta says so."""
    rows = policies(1.0, 0.0)
    policy = rows[policy.id]  # type: ignore[attr-defined]
    a, b = policy.prior()
    context = Context(9, 2, {"completion_rate_30d": 0.5})
    for _ in range(50):
        a, b = policy.learn(a, b, context, Task(is_overdue=True), 1.0)
        a, b = policy.learn(a, b, context, Task(), -1.0)
    choice = policy.decide(a, b, context, [Task(), Task(is_overdue=True), Task(is_overdue=True)], GREEDY)
    assert choice.index == 1
    estimate = dict(zip(policy.featurizer.labels, policy.estimate(a, b), strict=True))
    assert max(estimate, key=lambda label: estimate[label]) == "is_overdue"
