"""What the doubly robust estimate sees of a decision: the columns of all features of a loop's policies."""

from collections.abc import Iterable, Mapping

import numpy as np

from app.bandit.context import Context
from app.bandit.features import Encoder, Feature
from app.bandit.policy import Policy
from app.bandit.ridge import Matrix, Vector
from app.decision_log.lines import Decision
from app.evaluation.logged import MOST_COLUMNS

__all__ = ["Regressors", "seen"]


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

    @property
    def sizes(self) -> tuple[int, int]:
        """How many columns a decision has, and each of its candidates."""
        return len(self._of_decisions), len(self._of_candidates)

    def of(self, made: Decision) -> tuple[Vector, Matrix]:
        """The columns (a) of a decision, and those (k x b) of its k candidates."""
        base, _ = self._encoder.encode(*seen(made))
        return base[0, self._of_decisions], np.ascontiguousarray(base[:, self._of_candidates])


def seen(made: Decision) -> tuple[Context, list[Mapping[str, object]]]:
    """What policies see of a decision and of each of its candidates."""
    context = Context(made.context, made.user_features)
    return context, [{**each.features, "id": each.id} for each in made.candidates]
