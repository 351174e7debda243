"""What all users share."""

import pytest

from state import keys
from state.errors import CorruptState
from state.values.columns import Columns
from tests.unit.app.decisions.scene import ask, stored

pytestmark = pytest.mark.anyio

COLUMNS = Columns((("one", "0123456789abcdef"), ("two*\n", "fedcba9876543210")))
DAY = 86_400


async def test_columns_are_looked_up_by_their_name() -> None:
    """Published twice they are there once; a name that was never published has none."""
    async with stored() as store:
        shared = store.shared
        assert await shared.columns(COLUMNS.fingerprint) is None
        await shared.publish(COLUMNS)
        await shared.publish(COLUMNS)
        assert await shared.columns(COLUMNS.fingerprint) == COLUMNS
        assert await shared.all_columns() == {COLUMNS.fingerprint: COLUMNS}


async def test_when_a_column_was_last_used() -> None:
    """To the end of the day, by policy; what cannot be read is left out."""
    async with stored() as store:
        shared = store.shared
        await shared.note_used({"p": COLUMNS, "q": Columns(COLUMNS.pairs[:1])}, 3 * DAY + 5)
        await shared.note_used({"q": Columns(COLUMNS.pairs[:1])}, 5 * DAY)
        await ask(store, "HSET", keys.USED, "q\nbad\n0", "x")
        assert await shared.last_used("p") == dict.fromkeys(COLUMNS.pairs, 4 * DAY)
        assert await shared.last_used("q") == {COLUMNS.pairs[0]: 6 * DAY}


async def test_policies_that_may_have_models() -> None:
    """Each once, sorted."""
    async with stored() as store:
        assert await store.shared.policies() == []
        await store.shared.note_policies(["b", "a"])
        await store.shared.note_policies(["b", "c"])
        assert await store.shared.policies() == ["a", "b", "c"]


async def test_priors() -> None:
    """The last one that was written of each policy."""
    async with stored() as store:
        await store.shared.write_prior("p", b"1")
        await store.shared.write_prior("p", b"2")
        await store.shared.write_prior("q", b"3")
        assert await store.shared.priors() == {"p": b"2", "q": b"3"}


async def test_damage_names_the_key() -> None:
    """Columns that are none, and a key of another type."""
    async with stored() as store:
        await ask(store, "HSET", keys.COLUMNS, "f", "[]")
        with pytest.raises(CorruptState, match="oo:columns f: "):
            await store.shared.columns(b"f")
        await ask(store, "SET", keys.POLICIES, "x")
        with pytest.raises(CorruptState, match="oo:policies: holds a value of another type"):
            await store.shared.policies()
