"""Settling over the embedded store: what is due, in groups, and what cannot be settled."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.decisions import settle
from app.ledger.ledger import Ledger
from state import keys
from state.errors import ConflictError
from state.update.agenda import NOTHING
from state.update.changes import MOMENT, Schedule
from state.values import decision
from tests.support.decided import Shifted, made, rules, settler, shifted
from tests.unit.app.decisions.scene import ask

pytestmark = pytest.mark.anyio

OVER = 5_000


@pytest.fixture
async def store() -> AsyncIterator[Shifted]:
    store = shifted("memory://")
    yield store
    await store.close()


async def past(store: Shifted, user: str, *local: str, loop: str = "quiet") -> None:
    store.ago = OVER
    await made(store, user, *local, loop=loop)
    store.ago = 0


async def statuses(store: Shifted, user: str) -> list[str]:
    return [decision.decode("", blob).status for blob in (await store.decisions(user)).values()]


async def test_all_in_groups(store: Shifted, monkeypatch: pytest.MonkeyPatch) -> None:
    """Users in groups, each group in the order of their moments; progress by group; afterwards nobody is due."""
    monkeypatch.setattr(settle, "_GROUP", 3)
    for number in range(7):
        await past(store, f"u{number}", "one")
    await made(store, "new", "one")
    told: list[int] = []
    by, waiting = await settler(store).waiting()
    done = await settler(store).all(by, told.append)
    assert (waiting, done.users, done.decisions, done.failed, told) == (7, 7, 7, [], [3, 3, 1])
    assert await statuses(store, "u0") == ["defaulted"]
    assert await statuses(store, "new") == ["open"]
    assert (await settler(store).all(None)).users == 0


async def test_more_than_one_step_takes(store: Shifted) -> None:
    """A user with more decisions than are read at once stays due until all are settled."""
    await past(store, "ann", *(f"d{number}" for number in range(70)))
    done = await settler(store).some(9)
    assert (done.users, done.decisions) == (1, 32)
    done = await settler(store).all(None)
    assert (done.users, done.decisions) == (2, 38)
    assert await statuses(store, "ann") == ["defaulted"] * 70


async def test_the_index_is_mended(store: Shifted) -> None:
    """A moment that is too early, or a user without decisions, is looked at once and put right."""
    await made(store, "ann", "one")
    for user in ("ann", "nobody"):
        await ask(store, "ZADD", keys.due(None), 1, user)
    done = await settler(store).all(None)
    assert (done.users, done.decisions) == (2, 0)
    [record] = (await store.decisions("ann")).values()
    assert await ask(store, "ZSCORE", keys.due(None), "ann") == decision.decode("", record).deadline
    assert await ask(store, "ZSCORE", keys.due(None), "nobody") is None


async def test_no_user_at_all(store: Shifted) -> None:
    """A member that cannot be a user's id does not keep the command from ending."""
    await ask(store, "ZADD", keys.due(None), 1, b"\xff")
    await past(store, "ann", "one")
    assert (await settler(store).all(None)).decisions == 1


async def test_damage(store: Shifted) -> None:
    """It is named and put off; a moment that has changed since stays."""
    await past(store, "ann", "one")
    await past(store, "bob", "one")
    await ask(store, "HSET", keys.decisions("ann"), "one", "damage")
    done = await settler(store).all(None)
    assert (done.decisions, done.failed) == (1, [f"{keys.decisions('ann')} one: {done.failed[0].partition(': ')[2]}"])
    by, waiting = await settler(store).waiting()
    assert waiting == 0
    later = await ask(store, "ZSCORE", keys.due(None), "ann")
    await settler(store)._put_off("ann", by)
    assert await ask(store, "ZSCORE", keys.due(None), "ann") == later


async def test_whoever_is_changed_by_others_is_left_to_them(store: Shifted, monkeypatch: pytest.MonkeyPatch) -> None:
    """After too many lost races the user is passed over, and it is no failure."""
    await past(store, "ann", "one")
    lost = settler(store)

    async def conflict(*_: object, **__: object) -> None:
        raise ConflictError("others")

    monkeypatch.setattr(lost._rules.models, "update", conflict)
    done = await lost.all(None)
    assert (done.users, done.decisions, done.failed) == (1, 0, [])


async def test_a_change_of_the_agenda_always_writes_the_index(store: Shifted) -> None:
    """Also the moment that it has: another replica may be mending it, and what changes the agenda must win."""
    own = rules(store)
    values: dict[str, Any] = {keys.shared("u"): [None] * 7, keys.agenda("u"): NOTHING, MOMENT: (b"1", b"0")}
    [made_one] = await made(store, "other", "x")
    due = own.due("u").place
    for indexed in (None, float(made_one.record.deadline)):
        ledger = Ledger(own, "u", values | {due: indexed}, lambda: b"e")
        ledger.add("x", made_one.record)
        assert Schedule(keys.due(None), {b"u": made_one.record.deadline}) in ledger.change(None).writes
    for indexed, writes in ((None, 0), (5.0, 1)):
        assert len(Ledger(own, "u", values | {due: indexed}, lambda: b"e").change(None).writes) == writes
    assert Ledger(own, "u", values, lambda: b"e").change(None).writes == ()  # where it was not read
