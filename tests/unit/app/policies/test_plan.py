"""How a loop decides: its policies over shared base columns."""

import numpy as np

from app.bandit.context import Context
from app.policies.catalog import catalog
from app.policies.plan import Plans
from tests.support.decisions import POLICIES

CATALOG = catalog(POLICIES)
PLAN = Plans(lambda: CATALOG)["plain"]


def test_each_policy_sees_its_own_columns() -> None:
    """From one encoding for all, the same as by itself; the champion is the first."""
    context = Context({"mood": 1}, {})
    candidates = [{"size": 0.5, "side": 1.0}, {}]
    base, _ = PLAN.encoder.encode(context, candidates)
    assert [policy.id for policy in PLAN.policies] == ["serves", "watches", "fades"]
    for policy, columns in zip(PLAN.policies, PLAN.columns, strict=True):
        assert np.array_equal(columns.of(base), policy.see(context, candidates))


def test_what_no_feature_reads() -> None:
    """By where it stands."""
    fields = {"mood": 1, "size": 2, "b": 3, "a": 4}
    assert PLAN.unknown("context", fields) == ["a", "b", "size"]
    assert PLAN.unread.decisions == 0
    assert PLAN.unknown("candidate", fields) == ["a", "b", "mood"]
    assert PLAN.unknown("user", fields) == ["a", "b", "mood", "size"]
