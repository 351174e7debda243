"""The columns of the doubly robust estimate."""

import numpy as np

from app.decision_log.lines import Candidate
from app.judging.regressors import Regressors, seen
from app.policies.catalog import catalog
from tests.unit.app.decision_log.samples import decision

OWN = """
[features]
heat = { of = "context", kind = "number", min = 0, max = 10 }
rich = { of = "user", kind = "flag" }
size = { of = "candidate", kind = "number", min = 0, max = 4 }
arm  = { of = "candidate", field = "id", kind = "category", values = ["rent", "walk"] }
much = { of = "candidate", kind = "hash", buckets = 250 }
more = { of = "candidate", kind = "hash", buckets = 240 }
last = { of = "candidate", kind = "hash", buckets = 60 }
[policies.one]
columns = ["1", "heat", "size"]
explore = { by = "epsilon", epsilon = 0.1 }
[policies.two]
columns = ["1", "size", "rich", "arm", "heat*arm"]
explore = { by = "epsilon", epsilon = 0.1 }
[policies.wide]
columns = ["1", "much"]
explore = { by = "epsilon", epsilon = 0.1 }
[policies.wider]
columns = ["1", "more"]
explore = { by = "epsilon", epsilon = 0.1 }
[policies.widest]
columns = ["1", "last"]
explore = { by = "epsilon", epsilon = 0.1 }
"""
POLICIES = catalog(OWN).policies


def test_columns_of_all_policies() -> None:
    """Each feature once: those of the decision and its user, and those of each candidate, of which its id is one."""
    regressors = Regressors([POLICIES["one"], POLICIES["two"]])
    made = decision(
        context={"heat": 5},
        user_features={"rich": True},
        candidates=[Candidate("rent", {"size": 1}), Candidate("walk", {"size": "?"})],
    )
    context, features, lacking = regressors.of(made)
    assert regressors.sizes == (2, 3)
    assert regressors.labels == ["heat", "rich", "size", "arm=rent", "arm=walk"]
    assert regressors.features == ("heat", "size", "rich", "arm")
    assert lacking == {"size"}
    assert sorted(context.tolist()) == [0.5, 1.0]
    assert sorted(map(sorted, features.T.tolist())) == [[0.0, 0.25], [0.0, 1.0], [0.0, 1.0]]
    assert seen(made)[1][1] == {"size": "?", "id": "walk"}


def test_never_too_many() -> None:
    """As many as the evaluation takes, and none for a loop that nobody knows."""
    assert sum(Regressors([POLICIES[name] for name in ("wide", "wider", "widest")]).sizes) == 511
    context, features, _ = Regressors([]).of(decision())
    assert (context.shape, features.shape) == ((0,), (2, 0))
    assert np.asarray(features).dtype == np.float64
