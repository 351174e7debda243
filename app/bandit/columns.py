"""The columns of a policy: base columns and products of them."""

from collections.abc import Mapping, Sequence
from itertools import chain, product
from typing import Final

import numpy as np

from app.bandit.features import CONSTANT
from app.bandit.ridge import Matrix

__all__ = ["TIMES", "Columns", "crossed", "label_of"]

TIMES: Final = "*"


def label_of(factors: Sequence[str]) -> str:
    """The one name of a product of base columns, whatever the order of its factors."""
    kept = sorted(factor for factor in factors if factor != CONSTANT)
    return TIMES.join(kept) or CONSTANT


def crossed(lists: Sequence[Sequence[str]]) -> list[str]:
    """The label of every product of one column from each list, in the order of the lists, the first slowest."""
    return [label_of([*chain.from_iterable(each.split(TIMES) for each in factors)]) for factors in product(*lists)]


class Columns:
    """Columns named by `labels`: base columns, or products of them.

    `base` are the labels of the base columns that `of` is given. Raises KeyError for a factor that is not among them.
    """

    def __init__(self, labels: Sequence[str], base: Sequence[str]) -> None:
        self.labels = tuple(labels)
        self.base = tuple(base)
        places: Mapping[str, int] = {label: place for place, label in enumerate(base)}
        factors = [[places[factor] for factor in label.split(TIMES)] for label in labels]
        # Shorter products are filled up with the constant; to multiply by it changes no bit.
        depth = max(map(len, factors))
        filled = np.array([each + [places[CONSTANT]] * (depth - len(each)) for each in factors])
        self._factors = [np.ascontiguousarray(each) for each in filled.T]
        first = self._factors[0].tolist()
        one_run = depth == 1 and first == list(range(first[0], first[0] + len(first)))
        self._run = slice(first[0], first[0] + len(first)) if one_run else None

    def of(self, base: Matrix) -> Matrix:
        """The columns (k x d) of k rows of base columns (k x n)."""
        if self._run is not None:
            return np.ascontiguousarray(base[:, self._run])
        x = base.take(self._factors[0], axis=1)
        for factors in self._factors[1:]:
            x *= base.take(factors, axis=1)
        return x
