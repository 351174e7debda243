"""The last synchronisation of a user's tasks: the newest replaces all of the one before."""

import pytest

from app.events.sync import Sync
from state import keys
from tests.unit.app.decisions.scene import Twice, ask, stored

pytestmark = pytest.mark.anyio

KEY = keys.sync("u")


async def kept(store: Twice, *names: str) -> list[str | None]:
    values = await store.read(KEY, tuple(name.encode() for name in names))
    return [None if value is None else value.decode() for value in values]


async def test_the_newest_is_kept_as_a_whole() -> None:
    """Fields of an older one do not stay; an older one that comes late changes nothing, the same again nothing."""
    async with stored() as store:
        sync = Sync(store)
        await sync.synced("u", {"a": "1", "b": "é"}, 1_700_000_000.25)
        assert await kept(store, "a", "b", "received_at", "received_at_us") == [
            "1",
            "é",
            "2023-11-14T22:13:20Z",
            "1700000000250000",
        ]
        await sync.synced("u", {"a": "2"}, 1_700_000_000.5)
        assert await kept(store, "a", "b") == ["2", None]
        await sync.synced("u", {"a": "3"}, 1_700_000_000.25)
        assert await kept(store, "a") == ["2"]
        assert store.changes[-1][0].writes == ()
        await sync.synced("u", {"a": "2"}, 1_700_000_000.5)
        assert store.changes[-1] == store.changes[1]


@pytest.mark.parametrize("stored_order", [b"", b"text", b"-5", b"1"])
async def test_an_order_that_is_not_one_gives_way(stored_order: bytes) -> None:
    """Without a time that can be read, whatever is stored is older."""
    async with stored() as store:
        await ask(store, "HSET", KEY, "received_at_us", stored_order, "old", "x")
        await Sync(store).synced("u", {"a": "1"}, 2.0)
        assert await kept(store, "a", "old", "received_at_us") == ["1", None, "2000000"]


async def test_its_own_fields_win() -> None:
    """A client's field of the same name does not hide when it was received."""
    async with stored() as store:
        await Sync(store).synced("u", {"received_at": "never", "received_at_us": "9"}, 0.0)
        assert await kept(store, "received_at", "received_at_us") == ["1970-01-01T00:00:00Z", "0"]
