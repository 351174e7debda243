"""Blocks of columns: how they join and cross."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.bandit.context import Context
from app.bandit.features import Block, Shared
from app.bandit.tips import CLOCK, TASK, WEEKDAY
from tests.unit.app.bandit.samples import Task

ONE = Shared(("1",), lambda _: (1.0,))
AGE = Block(("age",), lambda tasks: np.array([[task.task_age_days] for task in tasks]))
TASKS = [Task(priority=priority, task_age_days=age) for priority in (1, 4) for age in (-5.0, 15.0, 31.0)]


def test_one_row_per_task() -> None:
    """Tasks differ in the task columns, at whatever place these stand, and share all the others."""
    for features in (CLOCK + TASK, TASK + CLOCK, CLOCK + TASK + WEEKDAY, WEEKDAY + (CLOCK + TASK)):
        x = features.columns(Context(6, 1), TASKS)
        assert x.shape == (6, features.d)
        assert x.dtype == np.float64
        at = features.labels.index("task_age")
        assert x[:, at].tolist() == [0.0, 0.5, 1.0] * 2
        assert x[:, features.labels.index("priority")].tolist() == [0.0] * 3 + [1.0] * 3
        assert np.ptp(np.delete(x, [at, at + 1], axis=1), axis=0).tolist() == [0.0] * (features.d - 2)


def test_two_blocks_of_candidates() -> None:
    """Each block keeps its own columns, wherever the others stand."""
    x = (AGE + CLOCK + TASK).columns(Context(6, 1), TASKS)
    assert x[:, 0].tolist() == [-5.0, 15.0, 31.0] * 2
    assert x[:, 4].tolist() == [0.0, 0.5, 1.0] * 2


def test_columns_of_one_label_are_refused() -> None:
    """A label names one column."""
    with pytest.raises(ValueError, match="is_overdue, priority, task_age"):
        TASK + CLOCK + TASK


def test_a_context_alone_gives_one_row() -> None:
    """Columns that all candidates share need no candidates."""
    assert CLOCK.columns(Context(6, 0), TASKS).shape == (1, 2)
    assert (CLOCK + WEEKDAY).columns(Context(6, 0), TASKS[:1]).tolist() == [pytest.approx([1.0, 0.0, 0.0, 1.0])]


@given(st.integers(0, 23), st.integers(0, 6))
def test_a_cross_is_every_product(hour: int, day: int) -> None:
    """A column of a cross is the product of the two that its label names, the left one's slowest."""
    context = Context(hour, day)
    cross = (ONE + CLOCK) * (ONE + TASK)
    left, right = (ONE + CLOCK).columns(context, TASKS), (ONE + TASK).columns(context, TASKS)
    x = cross.columns(context, TASKS)
    assert cross.labels[:5] == ("1*1", "1*is_overdue", "1*task_age", "1*priority", "hour_sin*1")
    assert x.tolist() == [[a * b for a in one for b in other] for one, other in zip(left, right, strict=True)]


def test_a_cross_with_what_all_share() -> None:
    """Shared columns stretch over the candidates of the other side; two shared sides stay one row."""
    context = Context(6, 0)
    assert (CLOCK * TASK).columns(context, TASKS).shape == (6, 6)
    assert (TASK * CLOCK).columns(context, TASKS).shape == (6, 6)
    assert (CLOCK * WEEKDAY).columns(context, TASKS).shape == (1, 4)
    joined = (TASK + CLOCK * WEEKDAY).columns(context, TASKS)
    assert joined.shape == (6, 7)
    assert joined[:, 3:].tolist() == (CLOCK * WEEKDAY).columns(context, TASKS).tolist() * 6


def test_crosses_nest() -> None:
    """A cross of crosses multiplies all three."""
    found = (CLOCK * WEEKDAY * TASK).columns(Context(3, 2), TASKS)
    assert found.shape == (6, 12)
    expected = np.einsum(
        "i,j,kl->kijl",
        *(block.columns(Context(3, 2), TASKS)[0] for block in (CLOCK, WEEKDAY)),
        TASK.columns(Context(3, 2), TASKS),
    )
    assert np.array_equal(found, expected.reshape(6, 12))
