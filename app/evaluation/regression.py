"""A model of the reward, for the doubly robust estimate: ridge regression, cross-fitted."""

from collections.abc import Iterator
from typing import Final

import numpy as np

from app.bandit import ridge
from app.bandit.ridge import Matrix, Vector
from app.evaluation.estimators import FEWEST
from app.evaluation.logged import MOST_COLUMNS, Ints, Logged
from app.evaluation.weighed import Weighed, chosen_places, outcomes, per_decision

__all__ = ["predicted", "terms"]

_FOLDS: Final = 5
# Numbers of one batch: 16 MB.
_BATCH: Final = 2**21


def predicted(logged: Logged) -> Vector:
    """q (m): the expected R of every candidate, from decisions of other users (with few users, of other hours).

    Ridge regression with λ = 1 (Hoerl and Kennard 1970, "Ridge regression", section 2) on 1, the context's columns, the
    candidate's, and the products of one of each; if all these are more than 512, without the products. What predicts a
    decision has not seen its outcome nor that of any in its fold (Chernozhukov et al. 2018, "Double/debiased machine
    learning", section 3).
    """
    known = Weighed.of(logged, logged.propensities).known
    r, fold, at = np.where(known, outcomes(logged, logged.reward), 0.0), _folds(logged), chosen_places(logged)
    d = _width(logged)
    a, b = np.zeros((_FOLDS, d, d)), np.zeros((_FOLDS, d))
    for part in _batches(known.nonzero()[0], d):
        x = _columns(logged, part, at[part])
        for number in range(_FOLDS):
            inside = fold[part] == number
            a[number] += x[inside].T @ x[inside]
            b[number] += x[inside].T @ r[part][inside]
    all_a, all_b = ridge.prior(d)
    all_a, all_b = all_a + a.sum(axis=0), all_b + b.sum(axis=0)
    thetas = np.stack([ridge.theta(all_a - a[number], all_b - b[number]) for number in range(_FOLDS)])
    decision = np.repeat(np.arange(logged.n), np.diff(logged.starts))
    q = np.zeros(len(decision))
    for part in _batches(np.arange(len(decision)), d):
        q[part] = np.vecdot(_columns(logged, decision[part], part), thetas[fold[decision[part]]])
    return q


def terms(logged: Logged, target: Vector, q: Vector) -> Vector:
    """Σ_a e q(a) + w (R - q(A)) of each decision (n); 0 where it does not count.

    Dudík, Langford and Li 2011, "Doubly robust policy evaluation and learning", section 2.
    """
    weighed = Weighed.of(logged, target)
    r = np.where(weighed.known, outcomes(logged, logged.reward), 0.0)
    found = per_decision(logged, weighed.e * q) + weighed.weight * (r - q[chosen_places(logged)])
    return np.where(weighed.known, found, 0.0)


def _folds(logged: Logged) -> Ints:
    """The fold of each decision (n): by user, or by stretches of time where there are few users."""
    if len(np.unique(logged.user)) >= FEWEST:
        # The remainder by 64 is the user's bucket: the fold is not made of the same bits.
        return np.asarray(logged.user // np.uint64(64) % np.uint64(_FOLDS), np.int64)
    hours, at = np.unique(logged.hour, return_inverse=True)
    return np.asarray(at * _FOLDS // max(len(hours), 1), np.int64)


def _width(logged: Logged) -> int:
    a, b = int(logged.context.shape[1]), int(logged.features.shape[1])
    crossed = (1 + a) * (1 + b)
    return crossed if crossed <= MOST_COLUMNS else 1 + a + b


def _columns(logged: Logged, decisions: Ints, candidates: Ints) -> Matrix:
    """The columns of candidates, each with its decision."""
    one = np.ones((len(decisions), 1))
    context = np.concatenate((one, logged.context[decisions]), axis=1)
    features = np.concatenate((one, logged.features[candidates]), axis=1)
    if _width(logged) == context.shape[1] * features.shape[1]:
        return (context[:, :, None] * features[:, None, :]).reshape(len(one), -1)
    return np.concatenate((context, features[:, 1:]), axis=1)


def _batches(places: Ints, d: int) -> Iterator[Ints]:
    size = max(1, _BATCH // d)
    for first in range(0, len(places), size):
        yield places[first : first + size]
