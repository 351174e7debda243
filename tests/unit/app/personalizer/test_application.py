"""Ranks, rewards and activations, over an embedded store."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from app.decisions.make import Maker
from app.decisions.outcome import Outcomes
from app.ledger.rules import Rules
from app.messages.personalizer import RankRequest
from app.personalizer.application import Application
from app.personalizer.configuration import Configuration
from app.personalizer.following import Followed
from app.policies.catalog import catalog
from tests.unit.app.decisions.scene import stored

pytestmark = pytest.mark.anyio
RANK = {"actions": [{"id": "a", "features": [{"x": 1}]}, {"id": "b", "features": [{"y": 1}]}]}


def rank(**more: Any) -> RankRequest:
    return msgspec.convert({**RANK, **more}, RankRequest)


@asynccontextmanager
async def application() -> AsyncIterator[tuple[Application, Followed, list[str]]]:
    async with stored() as store:
        rules = Rules.of(store, catalog(), 0)
        told: list[str] = []
        followed = Followed(store.shared, "app")
        yield (
            Application(Maker(rules), Outcomes(rules), followed, loop="personalizer", told=told.append),
            followed,
            told,
        )


def setting(**more: Any) -> Callable[[Configuration, int], Configuration]:
    return lambda before, _: msgspec.structs.replace(before, **more)


async def test_a_retry_is_the_same_event() -> None:
    """With an event id, or with the id by which a library marks what it repeats; without either it is a new one."""
    async with application() as (app, _, _):
        named = [await app.rank("app", rank(eventId="e 1"), "") for _ in range(2)]
        marked = [await app.rank("app", rank(), "r1") for _ in range(2)]
        other = await app.rank("app", rank(), "r2")
        plain = [await app.rank("app", rank(eventId=None), "") for _ in range(2)]
    assert named[0].answer == named[1].answer
    assert marked[0].answer == marked[1].answer
    assert [each.repeated for each in (*named, *marked, *plain)] == [False, True, False, True, False, False]
    assert len({each.answer.event_id for each in (*named, *marked, other, *plain)}) == 5
    assert named[0].answer.event_id == "e 1"


async def test_the_first_reward_counts() -> None:
    """Others are dropped, and the same again is none; an unknown event is told, and all are counted."""
    async with application() as (app, _, told):
        await app.rank("app", rank(eventId="e"), "")
        found = [await app.reward("app", "e", value, "") for value in (1.0, 1.0, 0.5)]
        found += [await app.reward("app", "f", 1.0, ""), await app.reward("ann", "e", 1.0, "")]
    assert found == told == ["applied", "duplicate", "dropped", "unknown", "unknown"]


async def test_an_event_that_waits_for_its_activation() -> None:
    """Its reward is held until then."""
    async with application() as (app, _, _):
        await app.rank("app", rank(eventId="e", deferActivation=True), "")
        assert await app.reward("app", "e", 1.0, "") == "held"
        assert await app.activate("app", "e") == "activated"
        assert await app.activate("app", "e") == "duplicate"
        assert await app.activate("app", "f") == "unknown"
