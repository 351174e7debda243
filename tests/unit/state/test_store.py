"""The store: how changes are gathered into batches, and how reads are asked again."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from redis.exceptions import NoPermissionError, ResponseError

from state import keys
from state.errors import CorruptState, StoreUnavailable
from state.store import Store
from state.update.changes import Append, Change, Fields, Hash, List, Values
from state.update.operation import Flush, Operation
from state.update.turns import KIND
from tests.unit.state.wire import CUT, LOSE, Wire

pytestmark = pytest.mark.anyio

TIMEOUT = 100.0
PAST = keys.history("u")


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("state.redis.failure._jitter.uniform", lambda *_: 0.0)


@pytest.fixture
async def wire() -> Wire:
    return Wire()


@pytest.fixture
async def store(wire: Wire) -> AsyncIterator[Store]:
    store = opened(wire)
    yield store
    await store.close()


def opened(wire: Wire, flushes: list[Flush] | None = None) -> Store:
    flushes = [] if flushes is None else flushes
    return Store(wire, timeout=TIMEOUT, history_size=3, marker_seconds=60, observe=flushes.append)


async def add(store: Store, user: str = "u") -> int:
    key = keys.record(user, "p")

    def step(values: Values) -> Change[int]:
        number = int(values[key][0] or 0) + 1
        return Change(number, (Fields(key, {b"n": b"%d" % number}),))

    return await store.update(user, (Hash(key, (b"n",)),), step)


async def test_what_waits_together_goes_together(wire: Wire) -> None:
    """Changes of one turn of the loop share a batch of at most 64; what comes meanwhile is the next one."""
    flushes: list[Flush] = []
    store = opened(wire, flushes)
    assert sorted(await asyncio.gather(*(add(store, f"u{number % 50}") for number in range(150)))) == sorted(
        list(range(1, 4)) * 50
    )
    assert flushes[0].operations == 64
    assert sum(flush.operations for flush in flushes) == 150
    assert len(flushes) <= 5
    await store.close()


async def test_on_a_cluster_each_user_has_a_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction there is of one user, and one user's changes still go together."""
    flushes: list[Flush] = []
    store = opened(Wire(spans_users=False), flushes)
    await asyncio.gather(*(add(store, user) for user in ("a", "b", "a", "c", "b", "a")))
    assert sorted(flush.operations for flush in flushes) == [1, 2, 3]
    await store.close()


async def test_users_of_a_lost_batch_go_alone(wire: Wire) -> None:
    """After three lost races each user's changes have a transaction of their own."""
    flushes: list[Flush] = []
    store = opened(wire, flushes)

    async def rival() -> None:
        await wire.ask(("HSET", keys.record("a", "p"), "n", 10))

    wire.on("EXEC", rival, rival, rival)
    assert list(await asyncio.gather(add(store, "a"), add(store, "b"), add(store, "b"))) == [11, 1, 2]
    assert flushes[0].operations == 3
    assert sorted(flush.operations for flush in flushes[1:]) == [1, 2]
    await store.close()


def waiting(store: Store, *ages: float) -> None:
    loop = asyncio.get_running_loop()
    for number, age in enumerate(ages):
        store._waiting.append(
            Operation(
                user=f"u{number}",
                deadline=loop.time() + TIMEOUT - age,
                done=loop.create_future(),
                reads=(),
                step=lambda _: Change(None),
            )
        )


async def test_batches_are_of_one_age(store: Store) -> None:
    """A batch has the time of its oldest, so much younger changes go apart."""
    waiting(store, 70, 60, 47.5, 25, 22.5, 2.5)
    batches = []
    while store._waiting:
        batches.append([operation.user for operation in store._take()])
    assert batches == [["u0", "u1", "u2"], ["u3", "u4", "u5"]]


async def test_no_time_left_for_a_question(store: Store) -> None:
    """A change with less than a quarter of its time left fails alone; one whose caller left is dropped."""
    waiting(store, 76, 74, 0)
    late, left, _ = [operation.done for operation in store._waiting]
    left.cancel()
    assert [operation.user for operation in store._take()] == ["u2"]
    with pytest.raises(StoreUnavailable, match="did not answer in time"):
        await late


async def test_a_busy_user_waits(store: Store) -> None:
    """A user that is in a flush waits for its end, in order; others pass."""
    waiting(store, 3, 2, 1)
    store._busy = {"u0", "u1"}
    assert [operation.user for operation in store._take()] == ["u2"]
    assert [operation.user for operation in store._waiting] == ["u0", "u1"]
    store._busy = set()
    store._waiting.clear()


async def test_a_flush_that_is_cancelled(store: Store, wire: Wire) -> None:
    """Its callers are told, and its lane and users are free again."""
    under_way = asyncio.Event()

    async def hang() -> None:
        under_way.set()
        await asyncio.Event().wait()

    wire.on("EXEC", hang)
    task = asyncio.create_task(add(store))
    await under_way.wait()
    next(iter(store._flights)).cancel()
    with pytest.raises(StoreUnavailable, match="shutting down"):
        await task
    assert len(store._lanes) == 2
    assert store._busy == set()
    assert await add(store) == 1


async def test_a_read_is_asked_again(store: Store, wire: Wire) -> None:
    """Twice, whether the connection fails or Redis refuses; the third failure is told."""
    await add(store)
    wire.on("HMGET", CUT, NoPermissionError("NOPERM"))
    assert await store.read(keys.record("u", "p"), (b"n", b"x")) == [b"1", None]
    assert wire.refreshed == 2
    wire.on("HMGET", LOSE, LOSE, NoPermissionError("NOPERM"))
    with pytest.raises(StoreUnavailable, match="Redis refuses: NoPermissionError"):
        await store.read(keys.record("u", "p"), (b"n",))


async def test_a_key_of_the_wrong_type(store: Store, wire: Wire) -> None:
    """It is named, and not asked again."""
    await wire.ask(("SET", PAST, "text"))
    with pytest.raises(CorruptState, match=r"oo:\{u\}:history: holds a value of another type"):
        await store.history("u")
    assert wire.sent == [["LRANGE"]]


async def test_history_has_a_bound(store: Store, wire: Wire) -> None:
    """Of a longer list, as a larger setting of before may have left, the last entries are read."""
    await wire.ask(("RPUSH", PAST, *"12345"))
    assert await store.history("u") == [b"3", b"4", b"5"]
    await store.update("u", (List(PAST),), lambda _: Change(None, (Append(PAST, b"6"),)))
    assert await wire.ask(("LRANGE", PAST, 0, -1)) == [[b"4", b"5", b"6"]]


async def test_a_counter(store: Store, wire: Wire) -> None:
    """It counts from 1 and expires after its span, which later counts do not put off."""
    assert [await store.count("c", 60) for _ in range(3)] == [1, 2, 3]
    await wire.ask(("EXPIRE", "c", 7))
    assert await store.count("c", 60) == 4
    assert await wire.ask(("TTL", "c")) == [7]
    await wire.ask(("SET", "c", "text", "EX", 60))
    with pytest.raises(CorruptState, match="is not a counter"):
        await store.count("c", 60)


@pytest.mark.parametrize("failure", [LOSE, ResponseError("READONLY")])
async def test_a_count_is_never_repeated(store: Store, wire: Wire, failure: str | ResponseError) -> None:
    """It may have been made, and a limit of requests must not refuse for it."""
    wire.on("INCR", failure)
    with pytest.raises(StoreUnavailable):
        await store.count("c", 60)
    assert len(wire.sent) == 1
    assert wire.refreshed == 1


async def test_erase_and_wipe(store: Store, wire: Wire) -> None:
    """A wipe removes what it names, an erasure all of the user."""
    await wire.ask(("SET", keys.INDEXED_SINCE, int(time.time()) - 10**6))
    await asyncio.gather(add(store), add(store, "v"))
    await store.wipe("u", [keys.record("u", "p")])
    assert await wire.ask(("EXISTS", keys.record("u", "p")), ("EXISTS", keys.record("v", "p"))) == [0, 1]
    assert await store.erase("v", [keys.record("v", "p")]) == [keys.record("v", "p")]
    await store.ping()
    await store.note_index()


@pytest.mark.parametrize("damaged", [False, True])
async def test_the_last_line_of_a_wipe(store: Store, wire: Wire, damaged: bool) -> None:
    """It is written with the removal; where what it tells of cannot be read, the removal is made without it."""
    shared = keys.shared("u")
    await wire.ask(("SET", shared, "x") if damaged else ("HSET", shared, "epoch", "e"))
    await store.wipe("u", [shared], lambda fields, _: fields[0])
    found = [one.line async for page in store.outbox.left(10**15) for one in page]
    assert found == ([] if damaged else [b"e"])
    assert await wire.ask(("EXISTS", shared)) == [0]


async def test_close_waits(wire: Wire) -> None:
    """What is under way ends before the connections do."""
    store = opened(wire)
    tasks = [asyncio.create_task(add(store, f"u{number}")) for number in range(100)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await store.close()
    assert [task.result() for task in tasks] == [1] * 100


async def test_a_user_whom_others_change_too(wire: Wire) -> None:
    """A replica that lost a race waits for its turn, alone with that user; what comes meanwhile goes with it."""
    flushes: list[Flush] = []
    store = opened(wire, flushes)
    store._transactions.turns.note("u")
    await wire.ask(("SET", keys.of("u", KIND), "", "PX", 60_000))
    first = [asyncio.create_task(add(store)), asyncio.create_task(add(store, "v"))]
    assert await first[1] == 1
    later = [asyncio.create_task(add(store)) for _ in range(3)]
    while len(store._waiting) < 3:  # noqa: ASYNC110  # it tells nobody when it has more
        await asyncio.sleep(0)
    await wire.ask(("DEL", keys.of("u", KIND)))
    assert [await each for each in (first[0], *later)] == [1, 2, 3, 4]
    assert [flush.operations for flush in flushes] == [1, 4]
    assert wire.sent[-2:] == [["WATCH", "HMGET", "MULTI"], ["HSET", "DEL", "SET", "EXEC"]]
    assert await wire.ask(("EXISTS", keys.of("u", KIND))) == [0]
    await store.close()


async def test_turns_do_not_hold_up_others(wire: Wire) -> None:
    """However many users are waited for, all others have their lanes; a fifth one waits for the first four."""
    store = opened(wire)
    hot = [f"hot{number}" for number in range(5)]
    for user in hot:
        store._transactions.turns.note(user)
        await wire.ask(("SET", keys.of(user, KIND), "", "PX", 60_000))
    waiting = [asyncio.create_task(add(store, user)) for user in hot]
    assert await asyncio.gather(*(add(store, f"u{number}") for number in range(3))) == [1, 1, 1]
    assert [operation.user for operation in store._waiting] == ["hot4"]
    await wire.ask(*(("DEL", keys.of(user, KIND)) for user in hot))
    assert await asyncio.gather(*waiting) == [1] * 5
    await store.close()
