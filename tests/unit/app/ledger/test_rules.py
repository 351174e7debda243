"""What decisions go by, and what a step reads."""

import pytest

from app.ledger.rules import Large, Rules, reads
from app.policies.catalog import catalog
from state import keys, parts
from state.update.changes import AGENDA, Agenda, Entry, Hash, Moment, Register, Score
from state.values.decision import SHARED
from state.values.record import FIELDS
from tests.unit.app.decisions.scene import stored

pytestmark = pytest.mark.anyio


async def test_rules_of_a_catalog() -> None:
    """Its policies, a plan for each loop, and models of the store."""
    known = catalog()
    async with stored() as store:
        rules = Rules.of(store, known, 5)
        assert (rules.policies, rules.grace) == (known.policies, 5)
        assert [policy.id for policy in rules.plans["tips"].policies] == [
            known.loops["tips"].champion,
            *known.loops["tips"].shadows,
        ]
        assert rules.due("ann") == Score(keys.due(None), b"ann")


async def test_what_is_read() -> None:
    """What decisions share, one of them, the next ones, the index, the clock, and the models."""
    async with stored() as store:
        wanted = reads(Rules.of(store, catalog(), 5), "ann", ["one"], ["p", "q"])
    assert wanted == (
        Hash(keys.shared("ann"), SHARED),
        Entry(keys.decisions("ann"), b"one"),
        Agenda(keys.agenda("ann")),
        Register(keys.due(None)),
        Moment(),
        Hash(keys.record("ann", "p"), FIELDS),
        Hash(keys.record("ann", "q"), FIELDS),
    )


async def test_what_is_read_of_large_loops() -> None:
    """Both places, and as much of the agenda as is read at once; of users who are known to have such decisions too."""
    whole = keys.decisions("ann")
    async with stored() as store:
        rules = Rules.of(store, catalog(), 5)
        wanted = reads(rules, "ann", ["one"], [], large=True)
        assert wanted[1:4] == (
            Entry(whole, b"one"),
            Entry(parts.of(whole, b"one"), b"one"),
            Agenda(keys.agenda("ann"), AGENDA),
        )
        assert reads(rules, "ann", ["one"], []) != wanted
        rules.large.note("ann")
        assert reads(rules, "ann", ["one"], []) == wanted


def test_large_users_are_a_bounded_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who was seen last stays."""
    monkeypatch.setattr("app.ledger.rules._REMEMBERED", 2)
    found = Large()
    for user in ("a", "b", "a", "c"):
        found.note(user)
    assert [user in found for user in "abc"] == [True, False, True]
