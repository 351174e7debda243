"""What a reward and its correction do to numbers: test_models.py holds both to never having happened."""

import numpy as np

from app.bandit.ridge import prior
from app.learning.steps import correction, grown, known_then, rewarded
from state.values.columns import Columns
from state.values.record import Meta

A, B, C = ("a", "0" * 16), ("b", "1" * 16), ("c", "2" * 16)


def test_counters() -> None:
    """The sum counts what was told, the squares what was learned; both age."""
    once = rewarded(Meta(), 0.5, 7, baseline=0.25, forget=0.5)
    assert (once.reward_count, once.cumulative_reward, once.last_updated, once.updates) == (1, 0.5, 7, 1)
    assert (once.weight, once.squares) == (1.0, 0.0625)
    assert rewarded(once, 1.0, 8, baseline=0.0, forget=0.5).weight == 1.5


def test_a_correction_ages() -> None:
    """By each reward that came after it; taken back, its weight goes too."""
    meta = Meta(reward_count=3, cumulative_reward=1.5, updates=3, weight=1.75, squares=1.0)
    changed = correction(meta, 1, was=0.5, now=1.0, baseline=0.0, forget=0.5)
    assert (changed.seen, changed.change) == (0.0, 0.125)
    assert (changed.meta.cumulative_reward, changed.meta.reward_count, changed.meta.weight) == (2.0, 3, 1.75)
    assert changed.meta.squares == 1.0 + 0.25 * (1.0 - 0.25)
    gone = correction(meta, 3, was=0.5, now=None, baseline=0.25, forget=0.5)
    assert (gone.seen, gone.change) == (-1.0, -0.25)
    assert (gone.meta.cumulative_reward, gone.meta.reward_count, gone.meta.weight) == (1.0, 2, 0.75)


def test_more_columns() -> None:
    """New ones are as in a new model."""
    a, b = grown(np.array([[2.0]]), np.array([3.0]), 2)
    assert a.tolist() == [[2.0, 0.0], [0.0, 1.0]]
    assert b.tolist() == [3.0, 0.0]
    assert [part.tolist() for part in grown(np.zeros((0, 0)), np.zeros(0), 2)] == [part.tolist() for part in prior(2)]


def test_columns_that_came_later() -> None:
    """They had no part in what was learned; the order does not matter."""
    assert known_then(np.array([1.0, 2.0, 3.0]), Columns((A, B, C)), Columns((C, A))).tolist() == [1.0, 0.0, 3.0]
