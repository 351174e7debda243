"""Models as the store gives them."""

import numpy as np
import pytest

from app.bandit.catalog import policies
from app.bandit.ridge import Singular
from app.decisions.models import load, naming
from state.errors import CorruptState
from state.values import record
from state.values.record import FIELDS, Meta, Record

ROW = policies()["linucb-v1"]


def test_a_new_user() -> None:
    """The policy's prior, and that it is not stored."""
    found, model = load(ROW, "k", (None, None, None))
    assert (found, model.meta) == (False, Meta())
    assert (model.a == np.eye(5)).all()
    assert not model.b.any()


def test_a_known_user() -> None:
    """What was written is read; bytes that are not a model are told with the key."""
    fields = record.encode(Record(2 * np.eye(5), np.ones(5), Meta(3)))
    found, model = load(ROW, "k", [fields[name] for name in FIELDS])
    assert (found, model.meta.pulls, model.b.sum()) == (True, 3, 5.0)
    with pytest.raises(CorruptState, match="k: b has"):
        load(policies()["egreedy-v1"], "k", [fields[name] for name in FIELDS])


def test_errors_name_the_key() -> None:
    """Only Singular is translated; its traceback is not shown to operators, who can do nothing with it."""
    with pytest.raises(CorruptState, match="k: no solution") as raised, naming("k"):
        raise Singular("no solution")
    assert raised.value.__suppress_context__
    with pytest.raises(ZeroDivisionError), naming("k"):
        raise ZeroDivisionError
    with naming("k"):
        pass
