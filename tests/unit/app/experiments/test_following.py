"""The states of loops as a replica follows them: what is taken over, what stays, and what is said."""

import asyncio
import logging
from collections.abc import AsyncIterator

import msgspec
import pytest

from app.experiments.following import Following, told
from app.policies.catalog import Catalog, catalog
from app.policies.plan import Plans
from state import keys
from state.errors import StoreUnavailable
from state.store import Store
from state.values.loop import Canary, Stage, Standing, encode
from tests.support.decisions import POLICIES
from tests.unit.app.decisions.scene import Twice, ask, stored

pytestmark = pytest.mark.anyio
CATALOG = catalog(POLICIES)
CANARY = Stage(1, "serves", Canary("watches", 0.25))


def standing(number: int, now: Stage, *former: Stage) -> Standing:
    return Standing(number, "e", "n", now, list(former))


@pytest.fixture(autouse=True)
def warnings_only(caplog: pytest.LogCaptureFixture) -> None:
    """Tests count messages; a service that was made before in this process lets lesser ones pass, too."""
    caplog.set_level(logging.WARNING, "oo.loops")


async def put(store: Store, loop: str, text: bytes) -> None:
    await ask(store, "HSET", keys.LOOPS, loop, text)


class Scene:
    """A replica that follows, with a policy file that may change."""

    def __init__(self, store: Store) -> None:
        self.catalog: Catalog = CATALOG
        self.entered: list[tuple[str, int, Canary | None]] = []
        self.following = Following(store.loops, lambda: self.catalog, lambda *one: self.entered.append(one))
        self.plans = Plans(lambda: self.catalog, lambda: self.following.standings)

    def serving(self, loop: str = "plain") -> tuple[int, list[str]]:
        plan = self.plans[loop]
        return plan.stage.number, [policy.id for policy in plan.policies]


@pytest.fixture
async def store() -> AsyncIterator[Twice]:
    async with stored() as store:
        yield store


async def test_what_redis_says(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """It is taken over once, logged, and serves; other loops stay with the file, and all do if the state goes."""
    caplog.set_level(logging.INFO, "oo.loops")
    scene = Scene(store)
    assert not scene.following.began
    await scene.following.refresh()
    assert (scene.following.began, scene.serving(), scene.entered) == (True, (0, ["serves", "watches", "fades"]), [])
    await put(store, "plain", encode(standing(1, CANARY)))
    for _ in range(2):
        before = scene.plans["books"].unread
        await scene.following.refresh()
        assert scene.serving() == (1, ["serves", "watches", "fades"])
        assert scene.serving("books")[0] == 0
        assert scene.plans["books"].unread is before
    await put(store, "plain", encode(standing(2, Stage(2, "fades"), CANARY)))
    await scene.following.refresh()
    assert scene.serving() == (2, ["fades", "serves", "watches"])
    await ask(store, "DEL", keys.LOOPS)
    await scene.following.refresh()
    assert scene.serving() == (0, ["serves", "watches", "fades"])
    assert scene.entered == [("plain", 1, CANARY.canary), ("plain", 2, None), ("plain", 0, None)]
    assert caplog.messages == [
        "loop plain: state 1: champion serves, canary watches for 0.25 of the decisions",
        "loop plain: state 2: champion fades",
        "loop plain: its state is gone from Redis: the policy file says who serves",
    ]


async def test_what_cannot_be_read_changes_nothing(
    store: Store, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither an outage nor a damaged state; it is said once, and again when all is well. Until the first time that
    all was read, nothing began."""
    scene = Scene(store)
    await put(store, "plain", b"{}")
    await scene.following.refresh()
    assert not scene.following.began
    await put(store, "plain", encode(standing(1, CANARY)))
    await scene.following.refresh()
    assert (scene.following.began, scene.following.problem) == (True, None)
    caplog.clear()

    async def away(_: object) -> dict[str, bytes]:
        raise StoreUnavailable("Redis cannot be reached")

    with monkeypatch.context() as patch:
        patch.setattr(store.loops, "states", away)
        for _ in range(3):
            await scene.following.refresh()
        assert scene.following.problem == (
            "who serves the loops cannot be read: Redis cannot be reached; they stay as they are"
        )
    assert (scene.serving()[0], len(caplog.messages)) == (1, 1)
    await put(store, "plain", b"{}")
    await put(store, "books", encode(standing(1, CANARY)))
    for _ in range(2):
        await scene.following.refresh()
    assert (scene.serving()[0], scene.serving("books")[0]) == (1, 1)
    assert "oo:loops plain: is not the state of a loop" in str(scene.following.problem)
    assert len(caplog.messages) == 2
    await ask(store, "SET", keys.LOOPS, "x")
    await scene.following.refresh()
    assert "oo:loops: holds a value of another type" in str(scene.following.problem)
    assert (scene.serving()[0], scene.following.began) == (1, True)


async def test_a_policy_that_the_file_lacks(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """The stage before serves, and decisions are made under its number; at last what the file says."""
    scene = Scene(store)
    unknown = Stage(2, "serves", Canary("newer", 0.1))
    await put(store, "plain", encode(standing(2, unknown, CANARY, Stage(0, "serves"))))
    await put(store, "books", encode(standing(1, Stage(1, "newer"))))
    for _ in range(2):
        await scene.following.refresh()
    assert (scene.serving()[0], scene.serving("books")[0]) == (1, 0)
    assert scene.following.began
    lacking, other = caplog.messages
    assert lacking == (
        "loop plain: the policy file lacks what state 2 names (champion serves, canary newer for 0.1 of the "
        "decisions): it serves state 1 (champion serves, canary watches for 0.25 of the decisions)"
    )
    assert other == (
        "loop books: the policy file lacks what state 1 names (champion newer): it serves state 0 (champion serves)"
    )
    # Another file has it.
    renamed = {"newer": msgspec.structs.replace(CATALOG.policies["fades"], id="newer")}
    scene.catalog = msgspec.structs.replace(CATALOG, policies={**CATALOG.policies, **renamed})
    await scene.following.refresh()
    assert scene.serving() == (2, ["serves", "newer", "watches", "fades"])
    assert scene.following.problem is None
    # A loop that the file does not have any more is nobody's problem.
    scene.catalog = msgspec.structs.replace(CATALOG, loops={"books": CATALOG.loops["books"]})
    caplog.clear()
    await scene.following.refresh()
    assert list(scene.following.standings) == ["books"]
    assert len(caplog.messages) == 1


async def test_it_is_read_again_and_again(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever goes wrong."""
    monkeypatch.setattr("app.experiments.following._SECONDS", 0.0)
    scene, looks, enough = Scene(store), [0], asyncio.Event()

    async def states(_: object) -> dict[str, bytes]:
        looks[0] += 1
        if looks[0] == 3:
            enough.set()
        raise RuntimeError("a defect")

    monkeypatch.setattr(store.loops, "states", states)
    task = asyncio.create_task(scene.following.keep())
    await enough.wait()
    task.cancel()
    assert "cannot read who serves the loops" in caplog.text


async def test_how_often_it_is_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """About each second, so that all follow within two; replicas do not all come at once."""
    scene, pauses, enough = Scene(store), list[float](), asyncio.Event()

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 40:
            enough.set()
            await asyncio.Event().wait()

    monkeypatch.setattr("app.experiments.following.asyncio.sleep", sleep)
    task = asyncio.create_task(scene.following.keep())
    await enough.wait()
    task.cancel()
    assert 0.8 <= min(pauses) < 0.9
    assert 1.1 < max(pauses) <= 1.2


def test_who_serves_in_words() -> None:
    """With and without a canary."""
    assert told(Stage(1, "a")) == "champion a"
    assert told(Stage(1, "a", Canary("b", 0.05))) == "champion a, canary b for 0.05 of the decisions"
