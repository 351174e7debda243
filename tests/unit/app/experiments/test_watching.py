"""The health of loops as a replica follows it."""

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from app.experiments.health import encode
from app.experiments.watching import Watching
from app.messages.pipeline import LoopHealth
from app.policies.catalog import catalog
from state.errors import StoreUnavailable
from state.store import Store
from tests.support.decisions import POLICIES
from tests.unit.app.decisions.scene import Twice, stored
from tests.unit.app.experiments.scene import healthy

pytestmark = pytest.mark.anyio
CATALOG = catalog(POLICIES)


@pytest.fixture
async def store() -> AsyncIterator[Twice]:
    async with stored() as store:
        yield store


async def test_what_redis_has(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """It is taken over, and told at each look; what is damaged is said once and is as if it were not there."""
    told: list[tuple[str, LoopHealth]] = []
    watching = Watching(store.loops, lambda: CATALOG, lambda *one: told.append(one))
    await watching.refresh()
    assert (watching.health("plain"), told) == (None, [])
    await store.loops.keep_evidence("plain", b"", lambda _: encode(healthy()))
    await store.loops.keep_evidence("books", b"", lambda _: encode(healthy(champion="fades")))
    await watching.refresh()
    await watching.refresh()
    assert watching.health("plain") == healthy()
    assert told == 2 * [("plain", healthy()), ("books", healthy(champion="fades"))]
    await store.loops.keep_evidence("plain", b"", lambda _: b"{}")
    for _ in range(2):
        await watching.refresh()
    assert (watching.health("plain"), watching.health("books")) == (None, healthy(champion="fades"))
    assert caplog.text.count("oo:evidence plain health: is not a health") == 1
    assert len(told) == 6


async def test_no_failure_ends_it(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Redis that is away is the store's to log; anything else is logged here."""
    caplog.set_level(logging.ERROR)
    watching = Watching(store.loops, lambda: CATALOG)
    problems = [StoreUnavailable("away"), ValueError("odd"), asyncio.CancelledError()]

    async def refresh() -> None:
        raise problems.pop(0)

    monkeypatch.setattr(watching, "refresh", refresh)
    monkeypatch.setattr("app.experiments.watching._jitter.uniform", lambda *_: 0.0)
    with pytest.raises(asyncio.CancelledError):
        await watching.keep()
    assert problems == []
    assert [record.message for record in caplog.records] == ["cannot read the health of the loops"]
