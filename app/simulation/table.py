"""A table whose rows have a label: to choose the right label for a row earns 1, a wrong one 0."""

import random
from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from app.bandit.context import Context, Fields
from app.simulation.world import Moment

__all__ = ["Table"]


class Table(msgspec.Struct, frozen=True):
    """One user who meets `rows`, each at most once and in an order that depends on the seed; `right` has the place of
    each row's label among `labels`.

    Each label is a candidate. A row's fields are those of the moment and of each
    candidate too, whose `id` is its label.
    """

    rows: Sequence[Fields]
    right: Sequence[int]
    labels: tuple[str, ...]
    decisions: int
    users: int = 1

    def moments(self, seed: int, user: int) -> Iterator[Moment]:
        order = list(range(len(self.rows)))
        random.Random(seed).shuffle(order)  # noqa: S311  # an order that can be repeated, not a secret
        rewards = np.eye(len(self.labels))
        for place in order[: self.decisions]:
            fields, earned = self.rows[place], rewards[self.right[place]]
            yield Moment(Context(fields), [{**fields, "id": label} for label in self.labels], earned, earned)
