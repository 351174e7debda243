"""Settling users who never return, exactly once: several settlers and requests at the same time, on a real Redis and on
a Cluster."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from app.commands.cli import run
from app.decisions.errors import NotKnown
from app.decisions.outcome import Outcomes
from app.decisions.told import Told
from app.decisions.users import Users
from state import keys
from state.store import Store
from state.values import decision, record
from tests.support.decided import DEFAULT, Shifted, made, rules, settler, shifted
from tests.support.faults import Proxy
from tests.support.redis_groups import Cluster, redis_cluster
from tests.support.redis_servers import RedisServer
from tests.support.waiting import until_async

pytestmark = pytest.mark.anyio
Opened = Callable[..., Shifted]

# Long ago for the loop, whose windows are over; and longer, so that the records may go too.
OVER = 5_000
GONE = 10_000
EACH = 40  # more than are settled in one step
USERS = [f"user {number}" for number in range(6)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with redis_cluster("--cluster-node-timeout", "60000") as group:
        yield group


@pytest.fixture(params=["one", "cluster"])
def url(request: pytest.FixtureRequest) -> str:
    """Each kind of Redis, empty."""
    if request.param == "one":
        found: str = request.getfixturevalue("redis_url")
        return found
    group: Cluster = request.getfixturevalue("cluster")
    for server in group.masters:
        server.command("FLUSHALL")
    return group.url


@pytest.fixture
async def opened() -> AsyncIterator[Opened]:
    """Opens stores, each as another replica has one, and closes them."""
    stores: list[Shifted] = []

    def open_one(url: str, ago: int = 0) -> Shifted:
        stores.append(shifted(url, ago))
        return stores[-1]

    yield open_one
    for store in stores:
        await store.close()


async def statuses(store: Store, user: str) -> list[str]:
    """What became of a user's decisions."""
    blobs = await store.decisions(user)
    return sorted(decision.decode("", blob).status for blob in blobs.values())


async def indexed(store: Store, user: str) -> tuple[float | None, float | None]:
    """The moment in the index, and that of the first decision."""
    key, agenda = store.due.key(user), keys.agenda(user)
    due = await store._asker.ask(key, ("ZSCORE", key, user))
    first = await store._asker.ask(agenda, ("ZRANGE", agenda, 0, 0, "WITHSCORES"))
    return None if due is None else float(due), float(first[1]) if first else None


async def learned(store: Store, user: str) -> list[tuple[int, float]]:
    """How many rewards the models have learned, and their sum."""
    found = []
    for policy in ("egreedy-v1", "linucb-v1"):
        key = keys.record(user, policy)
        values = await store.read(key, record.FIELDS)
        model = record.decode(key, len(values[1] or b"") // 8, values)
        assert model is not None
        found.append((model.meta.reward_count, model.meta.cumulative_reward))
    return found


async def test_settlers_at_the_same_time_and_decisions_between(url: str, opened: Opened) -> None:
    """Two settlers and a client that decides and rewards: each default is booked once, every model has learned it once,
    and the index has the first moment of what is left."""
    past, one, two, client = (opened(url, ago) for ago in (OVER, 0, 0, 0))
    for user in USERS:
        await made(past, user, *(f"d{number}" for number in range(EACH)))
    by, waiting = await settler(one).waiting()
    assert waiting == len(USERS)
    returns = asyncio.gather(*(made(client, user, "new", "newer") for user in USERS[:3]))
    first, second = await asyncio.gather(settler(one).all(by), settler(two).all(None))
    await returns
    assert first.failed == second.failed == []
    assert first.decisions + second.decisions <= len(USERS) * EACH
    for user in USERS:
        new = 2 * (user in USERS[:3])
        assert await statuses(one, user) == ["defaulted"] * EACH + ["open"] * new
        assert await learned(one, user) == [(EACH, DEFAULT * EACH)] * 2
        due, head = await indexed(one, user)
        assert due == head
        assert due is not None
    assert (await settler(two).waiting())[1] == 0


async def test_what_is_over_goes(url: str, opened: Opened) -> None:
    """Where windows and grace are over, defaults are booked, and then neither a record nor a place in the index is
    left. A loop without a default teaches nothing."""
    past, store = opened(url, GONE), opened(url)
    await made(past, "ann", *(f"d{number}" for number in range(EACH)))
    await made(past, "bob", "one", loop="patient")
    done = await settler(store).all((await settler(store).waiting())[0])
    assert (done.decisions, done.failed) == (EACH + 1, [])
    assert await statuses(store, "ann") == await statuses(store, "bob") == []
    assert await indexed(store, "ann") == await indexed(store, "bob") == (None, None)
    assert await learned(store, "ann") == [(EACH, DEFAULT * EACH)] * 2
    assert (await store.read(keys.record("bob", "egreedy-v1"), (b"meta",))) != [None]


async def test_a_round_has_a_bound(url: str, opened: Opened) -> None:
    """A replica takes some users and of each what is read at once; the rest is still due, and comes in later rounds."""
    past, store = opened(url, OVER), opened(url)
    for user in USERS:
        await made(past, user, *(f"d{number}" for number in range(EACH)))
    rounds = []
    while (done := await settler(store).some(2)).users:
        assert done.users <= 2
        assert done.decisions <= done.users * 32
        rounds.append(done)
    assert sum(done.decisions for done in rounds) == len(USERS) * EACH
    assert sum(done.users for done in rounds) == len(USERS) * 2  # each is looked at twice
    if store.due.key("ann") == store.due.key("bob"):  # else a round begins anywhere, and the last may have one user
        assert len(rounds) == len(USERS)


async def test_a_lost_reply_books_nothing_twice(real_redis: RedisServer, opened: Opened) -> None:
    """The reply to EXEC is lost after Redis has booked the defaults: they are not booked again."""
    past = opened(real_redis.url, OVER)
    await made(past, "ann", "one", "two")
    with Proxy(real_redis.port) as proxy:
        store = opened(proxy.url)
        proxy.lose_reply()
        done = await settler(store).all(None)
        assert proxy.met
        assert done.decisions == 2
        assert await learned(past, "ann") == [(2, DEFAULT * 2)] * 2


@pytest.mark.parametrize("how", ["erased", "reset"])
async def test_a_user_goes_while_a_decision_is_made(real_redis: RedisServer, opened: Opened, how: str) -> None:
    """Decisions go with their user, also from the index; one that is being made starts over, in a new epoch; rewards
    for the others find nothing."""
    store = opened(real_redis.url)
    old = await made(store, "ann", "one", "two")
    [epoch] = await store.read(keys.shared("ann"), (b"epoch",))
    users = Users(store, rules(store).models, rules(store).policies, rules(store).priors)
    assert [local for local, _ in await users.open("ann")] == ["one", "two"]
    with Proxy(real_redis.port) as proxy:
        slow = opened(proxy.url)
        proxy.hold_exec()
        task = asyncio.create_task(made(slow, "ann", "three"))

        async def held() -> bool:
            return proxy.held == 1

        await until_async(held, "EXEC held")
        if how == "erased":
            assert {keys.shared("ann"), keys.decisions("ann"), keys.agenda("ann")} < set(await users.erase("ann"))
        else:
            await users.reset("ann")
        assert await indexed(store, "ann") == (None, None)
        proxy.release()
        [new] = await task
    values = await store.read(keys.shared("ann"), decision.SHARED)
    assert values[0] not in (None, epoch)
    assert (new.record.born, await statuses(store, "ann")) == (1, ["open"])
    due, head = await indexed(store, "ann")
    assert due == head == new.record.deadline
    for gone in old:
        with pytest.raises(NotKnown):
            await Outcomes(rules(store)).reward(gone.id, Told(reward=1.0))
    assert (await Outcomes(rules(store)).reward(new.id, Told(reward=1.0))).what == "applied"
    await users.erase("ann")
    assert real_redis.command("KEYS", "oo:{ann}:*") == []
    assert real_redis.command("EXISTS", keys.due(None)) == 0


async def test_damage_is_put_off(url: str, opened: Opened) -> None:
    """A user whose decisions cannot be read is named and looked at an hour later; the others are settled."""
    past, store = opened(url, OVER), opened(url)
    for user in USERS[:3]:
        await made(past, user, "one")
    broken = keys.decisions(USERS[0])
    await store._asker.ask(broken, ("HSET", broken, "one", "damage"))
    done = await settler(store).all(None)
    assert (done.decisions, len(done.failed)) == (2, 1)
    assert broken in done.failed[0]
    by, waiting = await settler(store).waiting()
    assert waiting == 0
    due, _ = await indexed(store, USERS[0])
    assert due is not None
    assert by < due <= by + 3_600_000


async def test_decisions_move_with_their_user(
    url: str, opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Export and restore bring back every decision, the agenda and the counts, in a new epoch, and the index: what is
    due is settled afterwards. A decision that is there is replaced with all else of the user."""
    monkeypatch.setenv("REDIS_URL", url)
    past, store = opened(url, OVER), opened(url)
    await made(past, "ann", "one", "two")
    [three] = await made(store, "bob", "three")
    await Outcomes(rules(store)).reward(three.id, Told(reward=0.5))
    await Outcomes(rules(store)).correct(three.id, Told(reward=0.75))
    await made(store, "cy", *(f"x{number}" for number in range(5)), loop="vast")
    before = [await everything(store, user) for user in ("ann", "bob", "cy")]
    assert await asyncio.to_thread(run, ["export", str(tmp_path / "f")]) == 0
    for user in ("ann", "bob", "cy"):
        await Users(store, rules(store).models, rules(store).policies, rules(store).priors).erase(user)
    await made(store, "bob", "four")
    await made(store, "cy", "x9", loop="vast")  # in a part of its own
    assert await asyncio.to_thread(run, ["restore", str(tmp_path / "f"), "--overwrite"]) == 0
    assert "left out: 0" in capsys.readouterr().out
    after = [await everything(store, user) for user in ("ann", "bob", "cy")]
    assert [rest for _, rest in after] == [rest for _, rest in before]
    assert {epoch for epoch, _ in before}.isdisjoint(epoch for epoch, _ in after)
    for user in ("ann", "bob", "cy"):
        due, head = await indexed(store, user)
        assert due == head
        assert due is not None
    assert (await settler(store).all(None)).decisions == 2
    assert await learned(store, "ann") == [(2, DEFAULT * 2)] * 2
    assert (await Outcomes(rules(store)).retract(three.id, Told())).what == "retracted"


async def everything(store: Store, user: str) -> tuple[bytes, list[object]]:
    """The epoch of a user's decisions, and all else there is of them."""
    [epoch, *counts] = await store.read(keys.shared(user), decision.SHARED)
    assert epoch is not None
    agenda = await store._asker.ask(keys.agenda(user), ("ZRANGE", keys.agenda(user), 0, -1, "WITHSCORES"))
    return epoch, [counts, await store.decisions(user), agenda]
