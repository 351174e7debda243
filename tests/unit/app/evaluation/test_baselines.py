"""The two policies that need no model."""

import numpy as np

from app.evaluation.baselines import first, uniform
from tests.unit.app.evaluation.logs import logged


def test_excluded_ones_have_no_part() -> None:
    """Where all are excluded there is nothing to choose, and in an empty log neither."""
    h = np.full((3, 3), 1 / 3)
    excluded = np.array([False, False, False, True, False, False, True, True, True])
    log = logged(h, {"c": h}, [0, 1, 2], np.zeros(3), [0, 1, 2], excluded=excluded)
    assert uniform(log).tolist() == [1 / 3, 1 / 3, 1 / 3, 0.0, 0.5, 0.5, 0.0, 0.0, 0.0]
    assert first(log).tolist() == [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    empty = logged(np.zeros((0, 3)), {"c": np.zeros((0, 3))}, np.zeros(0, int), np.zeros(0), [])
    assert uniform(empty).tolist() == first(empty).tolist() == []
