"""The configuration that replicas share."""

import asyncio

import msgspec
import pytest

from app.personalizer.configuration import Configuration
from app.personalizer.following import Followed
from state.errors import StoreUnavailable
from tests.unit.app.decisions.scene import stored

pytestmark = pytest.mark.anyio


def longer(before: Configuration, _: int) -> Configuration:
    return msgspec.structs.replace(before, wait=before.wait + 1)


async def test_a_change_reaches_other_replicas() -> None:
    """At their next look, and no change that comes at the same time is lost; applications have their own."""
    async with stored() as store:
        one, other, third = (Followed(store.shared, app) for app in ("a", "a", "b"))
        assert await other.current() == Configuration()
        done = await asyncio.gather(*(each.change(longer) for each in [one, other] * 5))
        assert max(each.wait for each in done) == 610
        assert (await one.refresh()).wait == (await other.refresh()).wait == 610
        assert (await third.current()).wait == 600
        assert (await one.change(lambda _, now: Configuration(edited=now))).edited > 1_600_000_000_000


async def test_an_outage_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """What was read stays, and one line says it; who never read any says so."""
    async with stored() as store:
        followed = Followed(store.shared, "a")
        await followed.change(longer)
        broken = Followed(store.shared, "b")

        async def fail(app: str) -> bytes | None:
            raise StoreUnavailable("down")

        store.shared.configuration = fail  # type: ignore[method-assign]
        keeping = asyncio.create_task(followed.keep())
        for _ in range(20):
            await asyncio.sleep(0)
        keeping.cancel()
        assert (await followed.current()).wait == 601
        with pytest.raises(StoreUnavailable):
            await broken.current()
    assert [record.message for record in caplog.records if record.name == "oo.personalizer"] == [
        "the configuration cannot be read: down; it stays as it is"
    ]
