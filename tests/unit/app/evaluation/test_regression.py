"""The model of the reward: scikit-learn's, and never fitted to what it predicts."""

import numpy as np
import pytest

from app.evaluation import regression
from app.evaluation.estimators import clusters, dr
from app.evaluation.logged import Logged
from app.evaluation.regression import predicted, terms
from app.evaluation.sums import reduced
from tests.unit.app.evaluation.logs import facts, few, logged, made, many


def value(log: Logged, name: str = "e") -> float:
    sums = reduced(log, log.by_policy[name], terms=terms(log, log.by_policy[name], predicted(log)))
    return dr(sums, clusters(sums)).estimate


def test_scikit_learns_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Predictions of its Ridge, fitted without a fold of users, and sb-obp's estimate with them; also in batches."""
    data = facts()["many"]["numbers"]
    for batch in (2**21, 40):
        monkeypatch.setattr(regression, "_BATCH", batch)
        q = predicted(many())
        assert q[:20] == pytest.approx(np.ravel(data["scikit-learn"]["q"]), rel=1e-11)
        assert q.sum() == pytest.approx(data["scikit-learn"]["sum_q"], rel=1e-12)
        assert value(many()) == pytest.approx(data["sb-obp"]["dr"], rel=1e-12)
    log = many()
    sums = reduced(log, log.by_policy["e"], terms=terms(log, log.by_policy["e"], q))
    found = dr(sums, clusters(sums))
    assert [found.low, found.high] == pytest.approx(data["statsmodels"]["dr"], rel=1e-12)


def test_a_user_never_predicts_himself() -> None:
    """Other rewards of a user change predictions for others, and none of his own fold."""
    log = many()
    fold = log.user // np.uint64(64) % np.uint64(5)
    reward = np.where(log.user == log.user[0], 1.0 - log.reward, log.reward)
    changed = np.abs(predicted(many(reward=reward)) - predicted(log)).reshape(-1, 4).max(axis=1) > 1e-6
    assert changed.tolist() == (fold != fold[0]).tolist()


def test_few_users_are_divided_by_time() -> None:
    """Five stretches of hours, each predicted from the four others."""
    user = np.zeros(4_000, np.uint64)
    log = made(user=user)
    reward = np.where(log.hour < 10, 1.0 - log.reward, log.reward)
    changed = np.abs(predicted(made(reward=reward, user=user)) - predicted(log)) > 1e-9
    assert changed.tolist() == np.repeat(log.hour >= 10, 4).tolist()


def test_without_anything_to_learn_from_it_is_ips() -> None:
    """One hour and one user are one fold, from which nothing may be learned."""
    log = few(user=np.zeros(20, np.uint64))
    assert not predicted(log).any()
    assert value(log) == pytest.approx(facts()["few"]["agreed"]["point"]["IPS"], rel=1e-14)


def test_what_does_not_count_teaches_nothing() -> None:
    """Neither an open decision nor one without an outcome, nor one that was not shown, has a term or teaches."""
    log = many()
    without = np.arange(240) % 3 == 0
    kept = {
        "matured": {"matured": ~without, "reward": 1.0 - log.reward},
        "shown": {"shown": ~without, "reward": 1.0 - log.reward},
        "known": {"reward": np.where(without, np.nan, 1.0 - log.reward)},
    }
    found = {name: many(**changes) for name, changes in kept.items()}
    predictions = {name: predicted(each) for name, each in found.items()}
    assert predictions["matured"].tolist() == predictions["shown"].tolist() == predictions["known"].tolist()
    assert predictions["known"].tolist() != predicted(many(reward=1.0 - log.reward)).tolist()
    for name, each in found.items():
        assert not terms(each, each.by_policy["e"], predictions[name])[without].any()


def test_too_many_products_are_left_out() -> None:
    """With 30 columns of each kind there would be 961 products: then there are 61 columns."""
    chance = np.random.default_rng(0)
    log = made(context=chance.normal(size=(4_000, 30)), features=chance.normal(size=(16_000, 30)))
    assert regression._width(log) == 61
    assert regression._columns(log, np.array([5]), np.array([20]))[0].tolist() == [
        1.0,
        *log.context[5],
        *log.features[20],
    ]
    assert 0.4 < value(log, "challenger") < 0.8
    small = made(context=np.full((4_000, 1), 2.0))
    assert regression._columns(small, np.array([5]), np.array([20]))[0].tolist() == [
        1.0,
        *small.features[20],
        2.0,
        *(2.0 * small.features[20]),
    ]


def test_nothing() -> None:
    """An empty log has no predictions."""
    log = logged(np.zeros((0, 3)), {"c": np.zeros((0, 3))}, np.zeros(0, int), np.zeros(0), [])
    assert predicted(log).tolist() == terms(log, log.by_policy["c"], np.zeros(0)).tolist() == []
