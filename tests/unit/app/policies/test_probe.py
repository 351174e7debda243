"""Made-up requests: they reach every part of every column."""

import numpy as np

from app.policies.catalog import catalog
from app.policies.probe import probe
from tests.unit.app.policies.samples import FEATURES

ALL = ["hour", "saturday", "late", "age", "price", "pause", "channel", "arm", "topics", "taste", "volume", "peak"]
POLICY = f"{FEATURES}[policies.p]\ncolumns = {ALL}\nexplore = {{ by = 'igw', sharpness = 1 }}"


def test_nested_objects_vary() -> None:
    """In every bucket, and beside a context that varies too."""
    rows = probe(catalog().policies["personalizer-v1"], 400)
    assert np.ptp(rows, axis=0)[1:].min() > 0.1


def test_every_column_varies() -> None:
    """Within -1..1, the same each time; a feature is missing now and then."""
    policy = catalog(POLICY).policies["p"]
    rows = probe(policy, 200)
    assert rows.shape == (200, policy.d)
    assert np.abs(rows).max() <= 1.0
    assert np.ptp(rows, axis=0).min() > 0.5
    assert np.array_equal(rows, probe(policy, 200))
    assert not np.array_equal(rows, probe(policy, 200, seed=2))
    missing = rows[:, policy.labels.index("price_missing")].mean()
    assert 0.05 < missing < 0.25
    only = rows[:, [place for place, label in enumerate(policy.labels) if label.startswith("pause")]]
    assert set(only.sum(axis=1).tolist()) == {0.0, 1.0}
    assert only.sum(axis=0).min() > 20
