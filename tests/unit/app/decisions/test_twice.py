"""Users who teach in both ways."""

import pytest

from app.decisions import twice
from app.decisions.twice import Twice

DAY = 86_400


def test_both_ways_within_a_day() -> None:
    """Of one user and one policy; the same way again, another policy or a day later is nothing."""
    found = Twice()
    assert not found.note("ann", ["p"], "first", 0)
    assert not found.note("ann", ["p"], "first", 5)
    assert not found.note("ann", ["q"], "id", 5)
    assert not found.note("bob", ["p"], "id", 5)
    assert found.note("ann", ["q", "p", "r"], "id", 5 + DAY - 1) == ["p"]
    assert not found.note("ann", ["p"], "first", 5 + 2 * DAY - 1)


def test_so_many_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who taught longest ago is forgotten first."""
    monkeypatch.setattr(twice, "_REMEMBERED", 2)
    found = Twice()
    for user in ("ann", "bob", "ann", "cy"):
        found.note(user, ["p"], "first", 0)
    assert found.note("ann", ["p"], "id", 1)
    assert not found.note("bob", ["p"], "id", 1)
