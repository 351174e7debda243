"""What a policy sees: blocks of named columns, joined by `+` and crossed by `*`.

A column's label names one number of theta, and d is the number of columns.
"""

from collections.abc import Callable, Sequence
from itertools import chain

import numpy as np

from app.bandit.context import Context, Task
from app.bandit.ridge import Matrix

__all__ = ["Block", "Columns", "Cross", "Features", "Shared"]


class Columns:
    """Some columns: their labels, and their values for each of k candidates."""

    def __init__(self, labels: tuple[str, ...]) -> None:
        self.labels = labels

    def columns(self, context: Context, tasks: Sequence[Task]) -> Matrix:
        """The values for k `tasks` in `context`, all finite: k x n, or 1 x n if all candidates share them."""
        raise NotImplementedError

    def __add__(self, other: "Columns") -> "Features":
        return Features((*_parts(self), *_parts(other)))

    def __mul__(self, other: "Columns") -> "Cross":
        return Cross(self, other)


class Shared(Columns):
    """Columns of the context alone, the same for all candidates."""

    def __init__(self, labels: tuple[str, ...], row: Callable[[Context], tuple[float, ...]]) -> None:
        super().__init__(labels)
        self.row = row

    def columns(self, context: Context, tasks: Sequence[Task]) -> Matrix:
        return np.array([self.row(context)])


class Block(Columns):
    """Columns of each candidate: `values` makes the k x n of them."""

    def __init__(self, labels: tuple[str, ...], values: Callable[[Sequence[Task]], Matrix]) -> None:
        super().__init__(labels)
        self._values = values

    def columns(self, context: Context, tasks: Sequence[Task]) -> Matrix:
        return self._values(tasks)


class Cross(Columns):
    """Every product of a column of `left` with one of `right`, those of the first column of `left` first."""

    def __init__(self, left: Columns, right: Columns) -> None:
        super().__init__(tuple(f"{one}*{other}" for one in left.labels for other in right.labels))
        self._left = left
        self._right = right

    def columns(self, context: Context, tasks: Sequence[Task]) -> Matrix:
        left, right = self._left.columns(context, tasks), self._right.columns(context, tasks)
        products = left[:, :, None] * right[:, None, :]
        return products.reshape(len(products), -1)


class Features(Columns):
    """Blocks beside each other. Raises ValueError for two columns of one label."""

    def __init__(self, blocks: tuple[Columns, ...]) -> None:
        super().__init__(tuple(chain.from_iterable(block.labels for block in blocks)))
        self.d = len(self.labels)
        twice = {label for label in self.labels if self.labels.count(label) > 1}
        if twice:
            raise ValueError(f"columns of the same label: {', '.join(sorted(twice))}")
        self.blocks = blocks
        ends = np.cumsum([len(block.labels) for block in blocks]).tolist()
        self._own = [
            (slice(end - len(block.labels), end), block)
            for end, block in zip(ends, blocks, strict=True)
            if not isinstance(block, Shared)
        ]
        self._rows = [block.row if isinstance(block, Shared) else _zeros(len(block.labels)) for block in blocks]

    def columns(self, context: Context, tasks: Sequence[Task]) -> Matrix:
        x = np.empty((len(tasks), self.d))
        # One write for all shared columns: writing them block by block would cost as much for each.
        x[:] = tuple(chain.from_iterable([row(context) for row in self._rows]))
        for at, block in self._own:
            x[:, at] = block.columns(context, tasks)
        return x


def _parts(columns: Columns) -> tuple[Columns, ...]:
    return columns.blocks if isinstance(columns, Features) else (columns,)


def _zeros(count: int) -> Callable[[Context], tuple[float, ...]]:
    zeros = (0.0,) * count
    return lambda _: zeros
