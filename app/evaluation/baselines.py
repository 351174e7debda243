"""Two policies without a model, for every report: a policy that does not beat them has learned nothing."""

import numpy as np

from app.bandit.ridge import Vector
from app.evaluation.logged import Logged
from app.evaluation.weighed import per_decision

__all__ = ["first", "uniform"]


def uniform(logged: Logged) -> Vector:
    """The same probability (m) for every candidate that is not excluded."""
    allowed = (~logged.excluded).astype(np.float64)
    count = np.maximum(per_decision(logged, allowed), 1.0)
    return np.asarray(allowed / np.repeat(count, np.diff(logged.starts)), np.float64)


def first(logged: Logged) -> Vector:
    """Probability 1 (m) for the first candidate of each decision that is not excluded."""
    found = np.zeros(len(logged.excluded))
    allowed = np.where(logged.excluded, len(found), np.arange(len(found)))
    places = np.minimum.reduceat(allowed, logged.starts[:-1]) if logged.n else allowed
    found[places[places < len(found)]] = 1.0
    return found
