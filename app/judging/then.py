"""The score that a user's models gave a chosen candidate at the time, computed again from earlier lines."""

from array import array
from collections.abc import Iterable, Mapping

import numpy as np

from app.bandit.policy import Policy
from app.bandit.ridge import Singular, Vector
from app.decision_log.lines import Decision, Line
from app.learning.fit import Own, fit_of, own_of
from app.log_reading.rebuild import Epoch, own_row

__all__ = ["Then", "then"]

# A policy's weight and value of each column that is not 0, or why they are not known.
Then = dict[str, dict[str, tuple[float, float]] | str]


def then(lines: Iterable[Line], made: Decision, policies: Mapping[str, Policy]) -> Then:
    """Weights and columns of the chosen candidate by each policy that was scored; `lines` are the user's, by seq.

    Their products add up to the score, without what exploration adds. Only `policies` that are still those of the
    decision can say it, of models that never had other columns, and that did not start from other users.
    """
    owns = {name: own_of(policies[name]) for name in made.by_policy if name in policies}
    columns = {own.columns.fingerprint.decode(): own.columns for own in owns.values()}
    epoch = Epoch(made.user, made.epoch, columns.get)
    for line in lines:
        if line.epoch == made.epoch and line.seq <= made.seq:
            if line.seq == made.seq:
                break
            epoch.take(line)
    found: Then = {}
    for name in made.by_policy:
        own = owns.get(name)
        lost = epoch.lost.get(name) or epoch.lost.get("")
        if own is None or own.version != made.versions.get(name):
            found[name] = "POLICIES has no such policy, or another version"
        elif made.prior.get(name):
            found[name] = "it started from a prior, which the log does not have"
        elif epoch.seq != made.seq - 1 or lost:
            found[name] = lost.why if lost else f"line {epoch.seq + 1} is missing"
        else:
            found[name] = _of(own, epoch, made)
    return found


def _of(own: Own, epoch: Epoch, made: Decision) -> dict[str, tuple[float, float]] | str:
    try:
        theta = _theta(own, epoch)
    except Singular as error:
        return str(error)
    x = own_row(own.columns, tuple(made.x), array("d", made.x.values()))
    return {label: (float(w), float(v)) for label, w, v in zip(own.columns.labels, theta, x, strict=True) if v}


def _theta(own: Own, epoch: Epoch) -> Vector:
    a, b = own.policy.prior()
    model = epoch.models.get(own.policy.id)
    if model is not None:
        fit = fit_of(own.policy.id, own.columns, model.columns)
        a[np.ix_(fit.own, fit.own)] = model.a[np.ix_(fit.there, fit.there)]
        b[fit.own] = model.b[fit.there]
    return own.policy.estimate(a, b)
