"""How a policy's columns lie among stored ones."""

import pytest

from app.bandit.ridge import Singular
from app.learning.fit import fit_of, naming, own_of
from app.policies.catalog import catalog
from state.errors import CorruptState
from state.values.columns import Columns

A, B, C = (("a", "0" * 16), ("b", "1" * 16), ("c", "2" * 16))


def test_places() -> None:
    """What is stored keeps its place, what is new comes after it."""
    found = fit_of("k", Columns((C, A)), Columns((A, B)))
    assert found.columns.pairs == (A, B, C)
    assert found.fingerprint == found.columns.fingerprint
    assert (found.at, found.own, found.there) == ([2, 0], [1], [0])


def test_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the key, and the command that helps."""
    monkeypatch.setattr("app.learning.fit.MOST", 2)
    with pytest.raises(CorruptState, match=r"k: would have over 2 columns: .*--prune"):
        fit_of("k", Columns((C,)), Columns((A, B)))


def test_what_models_name() -> None:
    """Those of the first system's policies name nothing, all others their columns."""
    rows = catalog().policies
    assert own_of(rows["linucb-v1"]).fingerprint is None
    own = own_of(rows["tips-v3"])
    assert own.fingerprint == own.whole == own.columns.fingerprint
    assert tuple(own.columns.labels) == rows["tips-v3"].labels


def test_errors_name_the_key() -> None:
    """Only what cannot be solved is translated."""
    with pytest.raises(CorruptState, match="k: no"), naming("k"):
        raise Singular("no")
    with pytest.raises(ZeroDivisionError), naming("k"):
        raise ZeroDivisionError
