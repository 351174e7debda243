"""Decisions at once: each as it would be alone, and equal candidates as one."""

import numpy as np
import pytest

from app.bandit.explore import EpsilonGreedy, Explorer, InverseGap, Normals, Odds, Thompson, UpperConfidence, floored
from app.bandit.ridge import Matrix, Singular, Vector
from app.bandit.sample import normals, sample, uniform
from app.bandit.together import scores_of, together
from tests.unit.app.bandit.samples import draws, history, learned, no_draws, odds_of
from tests.unit.app.bandit.test_sample import seen

EXPLORERS: list[Explorer] = [
    EpsilonGreedy(0.3),
    UpperConfidence(0.5),
    UpperConfidence(0.5, 0.2),
    Thompson(0.5),
    Thompson(0.5, 0.1),
    InverseGap(5.0),
]


def shared(explorer: Explorer, a: Matrix, b: Vector, x: Matrix, numbers: Normals = no_draws) -> Odds:
    """The odds of one decision, in which equal rows share."""
    [found] = together(explorer, [(a, b)], x, counts=[len(x)], seeds=[1], floors=[None], normals=numbers, distinct=True)
    return found


def bits(odds: Odds) -> list[object]:
    """All numbers."""
    bonus = None if odds.bonus is None else odds.bonus.tobytes()
    return [odds.scores.tobytes(), odds.propensities, odds.random, odds.theta.tobytes(), bonus]


@pytest.mark.parametrize("equal", [False, True])
@pytest.mark.parametrize("explorer", EXPLORERS, ids=repr)
def test_draws_match_propensities(explorer: Explorer, equal: bool) -> None:
    """Of 3,000 seeds each row is drawn as often as its propensities say, also where some rows are equal."""
    a, b = learned(*history(2, 5, 12))
    x, _ = history(3, 5, 4)
    x = x[[0, 1, 0, 2, 3, 1]] if equal else x
    if isinstance(explorer, Thompson):  # whose propensities differ from seed to seed: those of one, drawn from anew
        [propensities] = [shared(explorer, a, b, x, draws(1)).propensities]
    else:
        propensities = shared(explorer, a, b, x).propensities
    counts = [0] * len(x)
    for seed in range(3_000):
        counts[sample(propensities, uniform(seed, "p", "sample"))[0]] += 1
    seen(counts, propensities)


@pytest.mark.parametrize("explorer", EXPLORERS, ids=repr)
def test_equal_rows_share_what_one_would_have(explorer: Explorer) -> None:
    """To the last bit of their sums, wherever they stand; the number of rows is that of those that differ."""
    a, b = learned(*history(2, 5, 12))
    x, _ = history(3, 5, 3)
    alone = shared(explorer, a, b, x, draws(1))
    for order in ([0, 1, 2, 0, 0], [2, 1, 0, 1], [1, 1, 1, 0, 2, 2]):
        rows = list(dict.fromkeys(order))
        distinct = odds_of(explorer, a, b, x[rows], draws(1))
        odds = shared(explorer, a, b, x[order], draws(1))
        for place, row in enumerate(order):
            one = rows.index(row)
            assert odds.propensities[place] == distinct.propensities[one] / order.count(row)
            assert odds.random[place] == distinct.random[one] / order.count(row)
            assert odds.scores[place] == distinct.scores[one]
        assert sum(odds.propensities) == pytest.approx(1.0, abs=1e-12)
    same = odds_of(explorer, a, b, x, draws(1))
    assert (alone.propensities, alone.random) == (same.propensities, same.random)


def test_zeros_of_both_signs_are_equal() -> None:
    """And rows that differ in a bit are not: of these the first wins."""
    a, b = np.eye(2), np.array([1.0, 0.0])
    x = np.array([[0.5, 0.0], [0.5, -0.0], [0.5 + 1e-16 * 2, 0.0]])
    assert shared(UpperConfidence(0.0), a, b, x).propensities == [
        0.5,
        0.5,
        0.0,
    ]


@pytest.mark.slow
def test_many_columns() -> None:
    """Every explorer decides at d = 256."""
    a, b = learned(*history(1, 256, 40))
    x, _ = history(2, 256, 10)
    for explorer in EXPLORERS:
        assert sum(shared(explorer, a, b, x, draws(1)).propensities) == pytest.approx(1.0, abs=1e-12)


def several(d: int, counts: list[int]) -> tuple[list[tuple[Matrix, Vector]], list[Matrix]]:
    """Models, and as many candidates for each decision, of which some are equal."""
    models = [learned(*history(seed, d, 2 * seed)) for seed in range(len(counts))]
    rows = [history(seed + 50, d, count)[0] for seed, count in enumerate(counts)]
    for place, x in enumerate(rows):
        if place % 3 == 2:
            x[-1] = x[0]
    return models, rows


def by_seed(seed: int, shape: tuple[int, int]) -> Matrix:
    return normals(seed, "p", "draws", shape)


@pytest.mark.parametrize("distinct", [False, True])
@pytest.mark.parametrize("counts", [[10] * 7, [1, 1, 1], [3, 10, 3, 7, 10, 10, 1], [200] * 3], ids=str)
@pytest.mark.parametrize("d", [1, 5, 7, 12, 33])
@pytest.mark.parametrize("explorer", EXPLORERS, ids=repr)
def test_each_is_as_it_would_be_alone(explorer: Explorer, d: int, counts: list[int], distinct: bool) -> None:
    """To the last bit, beside other numbers of candidates and other floors, with equal rows; scores can be had anew."""
    models, rows = several(d, counts)
    seeds, floors = list(range(len(counts))), [None, 0.25, None, 0.5, None, None, 0.5][: len(counts)]
    found = together(
        explorer,
        models,
        np.concatenate(rows),
        counts=counts,
        seeds=seeds,
        floors=floors,
        normals=by_seed,
        distinct=distinct,
    )
    for model, x, seed, floor, odds in zip(models, rows, seeds, floors, found, strict=True):
        own = explorer if floor is None else floored(explorer, floor)
        [alone] = together(
            own, [model], x, counts=[len(x)], seeds=[seed], floors=[None], normals=by_seed, distinct=distinct
        )
        assert bits(odds) == bits(alone)
        assert scores_of(x, odds.theta, odds.bonus, distinct=distinct).tobytes() == odds.scores.tobytes()
        assert sum(odds.propensities) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("d", [1, 5, 7, 12, 33])
@pytest.mark.parametrize("count", [1, 2, 3, 5, 10, 17, 200])
def test_scores_are_those_of_plain_numpy(count: int, d: int) -> None:
    """One product of a matrix and a vector for each decision gives the same bits: records are explained by it."""
    models, rows = several(d, [count] * 16)
    a, b = map(np.array, zip(*models, strict=True))
    explorer = UpperConfidence(0.7, 0.1)
    solved = explorer.solved(a, b)
    assert solved.spread is not None
    for odds, x, inverse in zip(
        explorer.odds_of(solved, np.array(rows), range(16), no_draws), rows, solved.spread, strict=True
    ):
        bonus = 0.7 * np.sqrt(np.vecdot(x @ inverse, x))
        scores = x @ odds.theta + bonus
        assert odds.bonus is not None
        assert odds.bonus.tobytes() == bonus.tobytes()
        assert odds.scores.tobytes() == scores.tobytes()
        expected = [0.1 / count] * count
        expected[int((scores >= scores.max() - 1e-12).argmax())] += 0.9
        assert odds.propensities == expected


def test_one_that_has_no_odds_leaves_none_to_any() -> None:
    """Whoever asks tries each alone."""
    models, rows = several(3, [4, 4])
    with pytest.raises(Singular):
        together(
            UpperConfidence(1.0),
            [*models, (np.full((3, 3), np.nan), np.zeros(3))],
            np.concatenate([*rows, rows[0]]),
            counts=[4] * 3,
            seeds=[1] * 3,
            floors=[None] * 3,
            normals=no_draws,
            distinct=True,
        )
