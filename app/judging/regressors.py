"""What the doubly robust estimate sees of a decision: the columns of all features of a loop's policies."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from app.bandit.context import Context
from app.bandit.features import Encoder, Feature
from app.bandit.policy import Policy
from app.bandit.ridge import Matrix, Vector
from app.decision_log.lines import Decision
from app.evaluation.logged import MOST_COLUMNS

__all__ = ["Regressors", "Seen", "seen"]


class Seen(NamedTuple):
    """The columns (a) of a decision, those (k x b) of its k candidates, and the features that could not be read."""

    context: Vector
    features: Matrix
    lacking: frozenset[str]


class Regressors:
    """The columns of `policies`' features; of more than 511 the last ones are left out."""

    def __init__(self, policies: Iterable[Policy]) -> None:
        features: dict[str, Feature] = {}
        for policy in policies:
            for feature in policy.encoder.features:
                features.setdefault(feature.name, feature)
        self._encoder = Encoder(features.values())
        own = {label for feature in features.values() if feature.of == "candidate" for label in feature.labels}
        # The first column is the constant, which the regression has itself.
        places = range(1, min(len(self._encoder.labels), MOST_COLUMNS))
        self._of_candidates = [place for place in places if self._encoder.labels[place] in own]
        self._of_decisions = [place for place in places if self._encoder.labels[place] not in own]
        self.features = tuple(features)

    @property
    def sizes(self) -> tuple[int, int]:
        """How many columns a decision has, and each of its candidates."""
        return len(self._of_decisions), len(self._of_candidates)

    @property
    def labels(self) -> list[str]:
        """The names of all columns: first those of a decision, then those of its candidates."""
        return [self._encoder.labels[place] for place in (*self._of_decisions, *self._of_candidates)]

    def of(self, made: Decision) -> Seen:
        """What is seen of a decision."""
        base, lacking = self._encoder.encode(*seen(made))
        own = np.ascontiguousarray(base[:, self._of_candidates])
        return Seen(base[0, self._of_decisions], own, frozenset(lacking))


def seen(made: Decision) -> tuple[Context, list[Mapping[str, object]]]:
    """What policies see of a decision and of each of its candidates."""
    context = Context(made.context, made.user_features)
    return context, [{**each.features, "id": each.id} for each in made.candidates]
