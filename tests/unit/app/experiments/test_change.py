"""Changes of who serves: by the state that was seen, on evidence or for a reason; told to log and audit trail."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from app.decision_log.lines import State, decode
from app.experiments import health as healths
from app.experiments import verdict as verdicts
from app.experiments.change import Changer, Wanted
from app.experiments.errors import BadChange, NotYet, Stale
from app.experiments.following import Following
from app.policies.catalog import catalog
from app.policies.plan import Plans
from state import keys
from state.store import Store
from state.values.loop import MOST_FORMER, Canary, Stage
from tests.support.decisions import POLICIES
from tests.unit.app.decisions.scene import Twice, ask, stored
from tests.unit.app.experiments.scene import gate, healthy, verdict

pytestmark = pytest.mark.anyio
CATALOG = catalog(POLICIES)
FIRST = Canary("watches", 0.1)


class Scene:
    """A replica whose operators change the loop `plain`."""

    def __init__(self, store: Store, *, logs: bool = False) -> None:
        self.store = store
        self.following = Following(store.loops, lambda: CATALOG)
        self.plans = Plans(lambda: CATALOG, lambda: self.following.standings)
        self.changer = Changer(store.loops, self.following, logs=logs)

    async def put(self, number: int, **wanted: Any) -> Stage:
        """The stage by which this replica decides afterwards."""
        await self.changer.change(self.plans["plain"], Wanted(number=number, who="ops", **wanted))
        return self.plans["plain"].stage

    async def judge(self, *given: Any, old: int = 0, **more: Any) -> None:
        [seconds, _] = await ask(self.store, "TIME")
        found = verdict(*given, at=int(seconds) - old, **more)
        await self.store.loops.keep_evidence("plain", verdicts.encode(found), lambda _: healths.encode(healthy()))

    async def lines(self) -> list[State]:
        found = [decode(one.line) async for page in self.store.outbox.left(10**15) for one in page]
        return [line for line in found if isinstance(line, State)]


@pytest.fixture
async def store() -> AsyncIterator[Twice]:
    async with stored() as store:
        yield store


async def test_the_ladder(store: Store) -> None:
    """Each rung on its evidence, and back again without; the replica that changed it decides by it at once."""
    scene = Scene(store)
    with pytest.raises(NotYet, match="there is no evidence"):
        await scene.put(0, canary=FIRST)
    assert scene.following.number("plain") == 0
    await scene.judge(gate(-0.1, 0.1))
    assert await scene.put(0, canary=FIRST) == Stage(1, "serves", FIRST)
    with pytest.raises(NotYet, match="not known to be better") as caught:
        await scene.put(1, canary=Canary("watches", 0.5))
    assert caught.value.number == 1
    assert caught.value.verdict is not None
    await scene.judge(gate(0.01, 0.1))
    assert await scene.put(1, canary=Canary("watches", 0.5)) == Stage(2, "serves", Canary("watches", 0.5))
    assert await scene.put(2, champion="watches") == Stage(3, "watches")
    with pytest.raises(NotYet, match="is about the champion serves, and watches serves"):
        await scene.put(3, champion="serves")
    assert await scene.put(3, back=True) == Stage(4, "serves", Canary("watches", 0.5))
    assert await scene.put(4, canary=FIRST) == Stage(5, "serves", FIRST)
    assert await scene.put(5, champion="serves") == Stage(6, "serves")
    # Back to where the canary has more than now takes evidence again.
    await scene.judge(gate(-0.2, -0.1))
    with pytest.raises(NotYet, match="does harm"):
        await scene.put(6, back=True)
    audit = await scene.changer.audit("plain")
    assert [(each.number, each.to.champion, each.went_back, each.who) for each in audit] == [
        (6, "serves", False, "ops"),
        (5, "serves", False, "ops"),
        (4, "serves", True, "ops"),
        (3, "watches", False, "ops"),
        (2, "serves", False, "ops"),
        (1, "serves", False, "ops"),
    ]
    assert [each.evidence is not None for each in audit] == [False, False, False, True, True, True]


async def test_a_reason_stands_in_for_evidence(store: Store) -> None:
    """It is kept, beside what the evidence said."""
    scene = Scene(store)
    await scene.judge(gate(-0.2, -0.1), "draws", old=90_000)
    with pytest.raises(NotYet, match="25 hours old"):
        await scene.put(0, champion="watches")
    assert await scene.put(0, champion="watches", because="the old one is broken") == Stage(1, "watches")
    [kept] = await scene.changer.audit("plain")
    assert kept.because == "the old one is broken"
    assert kept.evidence is not None
    assert kept.evidence.high == -0.1


async def test_what_cannot_be(store: Store) -> None:
    """No reason helps; nothing is changed."""
    scene = Scene(store)
    for wanted, problem in (
        ({"champion": "nobody"}, "takes a policy of the loop, and 'nobody' is none; there are fades, serves, watches"),
        ({"canary": Canary("egreedy-v1", 0.1)}, "'egreedy-v1' is none"),
        ({"canary": Canary("serves", 0.1)}, "serves is the champion"),
        ({"back": True}, "there is no stage before"),
    ):
        with pytest.raises(BadChange, match=problem):
            await scene.put(0, **wanted, because="I want it")
    with pytest.raises(Stale) as caught:
        await scene.put(1, champion="fades", because="x")
    assert caught.value.number == 0
    assert await scene.put(0, champion="serves") == Stage(0, "serves")
    assert await ask(store, "EXISTS", keys.LOOPS) == 0


async def test_evidence_that_is_damaged_is_none(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """And it is said."""
    scene = Scene(store)
    await store.loops.keep_evidence("plain", b"{}", lambda _: b"[]")
    with pytest.raises(NotYet, match="there is no evidence"):
        await scene.put(0, canary=FIRST)
    assert "oo:evidence plain: is not evidence" in caplog.text
    assert "oo:evidence plain health: is not a health" in caplog.text


async def test_the_log_is_told(store: Store) -> None:
    """By a line for each change, of no user, in one epoch, without a gap; without a log by none."""
    scene = Scene(store, logs=True)
    await scene.put(0, canary=FIRST, because="why not")
    await scene.put(1, back=True)
    first, second = await scene.lines()
    assert (first.user, first.what, first.loop, first.seq, second.seq) == ("", "loop", "plain", 1, 2)
    assert first.epoch == second.epoch
    assert first.change["from"] == {"number": 0, "champion": "serves"}
    assert first.change["to"] == {"number": 1, "champion": "serves", "canary": {"policy": "watches", "share": 0.1}}
    assert (first.change["who"], first.change["because"]) == ("ops", "why not")
    assert second.change["went_back"] is True
    await Scene(store).put(2, champion="fades", because="x")
    assert len(await scene.lines()) == 2


async def test_only_so_many_stages_are_kept(store: Store) -> None:
    """One may go back that often."""
    scene = Scene(store)
    for number in range(MOST_FORMER + 3):
        await scene.put(number, champion=("fades", "watches")[number % 2], because="x")
    number = MOST_FORMER + 3
    for step in range(MOST_FORMER):
        assert (await scene.put(number + step, back=True)).number == number + step + 1
    with pytest.raises(BadChange, match="no stage before"):
        await scene.put(number + MOST_FORMER, back=True)


async def test_a_reply_that_is_lost(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The change is made once, and whoever asked for it is not told that somebody else was first."""
    scene = Scene(store)
    change = store.loops.change

    async def twice(name: str, make: Any) -> None:
        await change(name, make)
        await change(name, make)

    monkeypatch.setattr(store.loops, "change", twice)
    assert await scene.put(0, champion="fades", because="x") == Stage(1, "fades")
    assert msgspec.structs.asdict((await scene.changer.audit("plain"))[0])["number"] == 1
