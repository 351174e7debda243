"""The store: one suite of cases for the embedded store and for a real Redis, then replicas that share one."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable

import pytest

from state import keys
from state.errors import ConflictError, CorruptState, KeyReused, StoreError, StoreUnavailable
from state.redis.connect import open_servers
from state.redis.exchange import exchange
from state.redis.servers import Servers
from state.store import Store
from state.update.changes import Append, Change, Fields, Hash, List, Once, Remove, Step, Values
from state.update.operation import Flush, Operation
from tests.support.faults import Proxy
from tests.support.redis_servers import RedisServer, redis_server
from tests.support.waiting import PATIENCE_SECONDS, until_async

pytestmark = pytest.mark.anyio

N = (b"n",)
MARKER_SECONDS = 3_600
KEY = keys.record("u", "p")
ALONE = (Hash(KEY, N),)
BOTH = (Hash(KEY, N), List(keys.history("u")))


def count(amount: int = 1, entry: bytes | None = None, key: str = KEY) -> Callable[[Values], Change[int]]:
    """A step that adds to the counter `n` of a hash, and an entry to the history, and answers what it has come to."""

    def step(values: Values) -> Change[int]:
        [value] = values[key]
        number = int(value or b"0") + amount
        writes = (Fields(key, {b"n": b"%d" % number}),)
        return Change(number, writes if entry is None else (*writes, Append(keys.history("u"), entry)))

    return step


def fail(values: Values) -> Change[int]:
    raise ArithmeticError("this step cannot")


def key_of(user: str) -> str:
    return keys.record(user, "p")


async def add(store: Store, user: str = "u", amount: int = 1, once: str | None = None, request: bytes = b"r") -> int:
    marker = Once(keys.marker(user, "p", once), request, seen=-1) if once else None
    key = key_of(user)
    return await store.update(user, (Hash(key, N),), count(amount, key=key), once=marker)


async def stored(store: Store, user: str = "u") -> int:
    [value] = await store.read(key_of(user), N)
    return int(value or b"0")


async def ask(servers: Servers, *words: str | int | bytes) -> object:
    """The reply to one command, asked as the store asks."""
    async with servers.connection(str(words[1])) as connection:
        [reply] = await exchange(connection, [words])
    return reply


async def fields_of(servers: Servers, key: str) -> dict[bytes, bytes]:
    names = await ask(servers, "HKEYS", key)
    assert isinstance(names, list)
    return {name: await ask(servers, "HGET", key, name) for name in names}  # type: ignore[misc]


@pytest.fixture
async def servers(store_url: str) -> Servers:
    return open_servers(store_url, size=8, timeout=PATIENCE_SECONDS)


@pytest.fixture
async def store(servers: Servers) -> AsyncIterator[Store]:
    store = Store(servers, timeout=PATIENCE_SECONDS, history_size=3, marker_seconds=MARKER_SECONDS)
    yield store
    await store.close()


@pytest.fixture
async def replica(redis_url: str) -> AsyncIterator[Callable[..., Store]]:
    """Makes stores on one real Redis, as replicas of the service have them, and closes them."""
    made = []

    def make(url: str = redis_url, **options: object) -> Store:
        arguments = {"timeout": PATIENCE_SECONDS, "history_size": 100, "marker_seconds": MARKER_SECONDS, **options}
        made.append(Store(open_servers(url, size=8, timeout=PATIENCE_SECONDS), **arguments))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for store in made:
        await store.close()


# One suite for every kind of store


async def test_update_and_read(store: Store) -> None:
    """An update answers the step's result, and what it wrote is read; a hash that is not there reads as None."""
    assert await store.read(key_of("u"), (b"n", b"x")) == [None, None]
    assert await add(store) == 1
    assert await add(store, amount=5) == 6
    assert await store.read(key_of("u"), (b"n", b"x")) == [b"6", None]
    await store.ping()


async def test_updates_of_one_batch_build_on_each_other(store: Store) -> None:
    """Updates that wait together are applied in order of arrival, each to what the one before it left."""
    assert await asyncio.gather(*(add(store) for _ in range(200))) == list(range(1, 201))
    assert await stored(store) == 200


async def test_users_of_one_batch_stay_apart(store: Store) -> None:
    """Updates of many users in one batch each reach the hash of their own user."""
    users = [f"u{number % 50}" for number in range(500)]
    await asyncio.gather(*(add(store, user, amount=int(user[1:])) for user in users))
    assert [await stored(store, f"u{number}") for number in range(50)] == [10 * number for number in range(50)]


async def test_a_step_that_raises_fails_alone(store: Store) -> None:
    """What a step raises reaches its caller alone; those before and after it in the batch are applied."""
    results = await asyncio.gather(
        add(store), store.update("u", ALONE, fail), add(store), add(store, "v"), return_exceptions=True
    )
    assert [results[0], results[2], results[3]] == [1, 2, 1]
    assert isinstance(results[1], ArithmeticError)
    assert await stored(store) == 2


async def test_a_step_that_changes_nothing_writes_nothing(store: Store, servers: Servers) -> None:
    """A step may look and leave everything as it is: not even an operation id is written."""

    def look(values: Values) -> Change[str]:
        return Change("seen")

    assert await store.update("u", ALONE, look) == "seen"
    assert await ask(servers, "KEYS", "*") == []
    assert await add(store) == 1  # on the same connection


async def test_history_is_a_ring(store: Store) -> None:
    """Entries are kept in order of arrival, and of more than fit the oldest are dropped, within a batch as well."""

    async def append(number: int) -> int:
        return await store.update("u", BOTH, count(entry=b"%d" % number))

    assert await store.history("u") == []
    await append(1)
    assert await store.history("u") == [b"1"]
    await asyncio.gather(*(append(number) for number in range(2, 6)))
    assert await store.history("u") == [b"3", b"4", b"5"]


@pytest.mark.parametrize(
    ("wrong", "command"),
    [
        ("hash", ("SET", key_of("u"), "text")),
        ("history", ("SET", keys.history("u"), "text")),
        ("marker", ("RPUSH", keys.marker("u", "p", "k"), "item")),
    ],
)
async def test_a_key_of_the_wrong_type_fails_alone(
    store: Store, servers: Servers, wrong: str, command: tuple[str, ...]
) -> None:
    """What needs a key of another type raises CorruptState naming it and writes nothing; its batch mates succeed."""
    await ask(servers, *command)
    once: Once[int] = Once(keys.marker("u", "p", "k"), b"r", seen=-1)
    other = keys.record("u", "other")
    bad, *good = await asyncio.gather(
        store.update("u", BOTH, count(entry=b"e"), once=once),
        add(store, "v"),
        store.update("u", (Hash(other, N),), count(key=other)),
        return_exceptions=True,
    )
    assert isinstance(bad, CorruptState)
    assert bad.key == command[1]
    assert command[1] in str(bad)
    assert good == [1, 1]
    left = {
        "hash": (key_of("u"), b"string"),
        "history": (keys.history("u"), b"string"),
        "marker": (once.key, b"list"),
    }
    for name, (key, type_) in left.items():
        assert await ask(servers, "TYPE", key) == (type_ if name == wrong else b"none")


async def test_reading_a_key_of_the_wrong_type(store: Store, servers: Servers) -> None:
    """A read that meets another type names the key."""
    await ask(servers, "SET", key_of("u"), "text")
    await ask(servers, "SET", keys.history("u"), "text")
    with pytest.raises(CorruptState, match=r"oo:\{u\}:p: holds a value of another type"):
        await store.read(key_of("u"), N)
    with pytest.raises(CorruptState, match=r"oo:\{u\}:history"):
        await store.history("u")


async def test_wipe_between_updates_of_one_batch(store: Store, servers: Servers) -> None:
    """A wipe takes effect in its place: what came before is gone, what comes after starts from nothing."""

    async def update(entry: bytes) -> int:
        return await store.update("u", BOTH, count(entry=entry))

    wiped = [key_of("u"), keys.history("u")]
    results = await asyncio.gather(update(b"1"), update(b"2"), store.wipe("u", wiped), update(b"3"), update(b"4"))
    assert list(results) == [1, 2, None, 1, 2]
    assert await store.history("u") == [b"3", b"4"]
    await asyncio.gather(update(b"5"), store.wipe("u", wiped))
    assert await ask(servers, "EXISTS", *wiped) == 0


async def test_wipe_mends_keys_of_the_wrong_type(store: Store, servers: Servers) -> None:
    """A wipe removes keys of any type, and an update behind it in the same batch finds them gone."""
    await ask(servers, "SET", key_of("u"), "text")
    await ask(servers, "SET", keys.history("u"), "text")
    results = await asyncio.gather(
        add(store),
        store.wipe("u", [key_of("u"), keys.history("u")]),
        store.update("u", BOTH, count(entry=b"e")),
        return_exceptions=True,
    )
    assert isinstance(results[0], CorruptState)
    assert list(results[1:]) == [None, 1]
    assert await store.history("u") == [b"e"]


async def test_once(store: Store, servers: Servers) -> None:
    """The same key with the same request is applied once, then answered as seen; with another request it is refused."""
    assert await add(store, once="k") == 1
    assert await add(store, once="k") == -1
    with pytest.raises(KeyReused):
        await add(store, once="k", request=b"other")
    assert await add(store, once="another") == 2
    assert await add(store, "v", once="k") == 1
    seconds = await ask(servers, "TTL", keys.marker("u", "p", "k"))
    assert isinstance(seconds, int)
    assert 0 < seconds <= MARKER_SECONDS


async def test_once_within_a_batch(store: Store) -> None:
    """Repeats that wait together with the first are seen as well, and a step that raises leaves no marker."""
    failing = store.update("u", ALONE, fail, once=Once(keys.marker("u", "p", "f"), b"r", seen=-1))
    results = await asyncio.gather(
        add(store, once="k"),
        add(store, once="k"),
        add(store, once="k", request=b"other"),
        failing,
        add(store, once="f"),
        return_exceptions=True,
    )
    assert list(results[:2]) == [1, -1]
    assert isinstance(results[2], KeyReused)
    assert isinstance(results[3], ArithmeticError)
    assert results[4] == 2


async def test_replace(store: Store, servers: Servers) -> None:
    """A hash that is removed and set in one step keeps no field of before; removed alone, it is gone."""

    def put(**fields: bytes) -> Step[None]:
        written = {name.encode(): value for name, value in fields.items()}
        return lambda _: Change(None, (Remove(KEY), *([Fields(KEY, written)] if written else [])))

    await store.update("u", ALONE, put(n=b"1", old=b"x"))
    await store.update("u", ALONE, put(n=b"2"))
    assert await fields_of(servers, key_of("u")) == {b"n": b"2"}
    await asyncio.gather(store.update("u", ALONE, put(n=b"7", old=b"x")), add(store))
    assert await fields_of(servers, key_of("u")) == {b"n": b"8", b"old": b"x"}
    await store.update("u", ALONE, put())
    assert await ask(servers, "EXISTS", key_of("u")) == 0


async def test_cancelled_before_it_starts(store: Store) -> None:
    """An update that is cancelled before its batch starts is not applied; the others are."""
    tasks = [asyncio.create_task(add(store)) for _ in range(3)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    assert list(await asyncio.gather(tasks[0], tasks[2])) == [1, 2]
    assert tasks[1].cancelled()
    assert await stored(store) == 2


async def test_cancelled_callers_leave_nothing_behind(store: Store, servers: Servers) -> None:
    """Wherever updates and reads are when their callers are cancelled, every later one is served."""
    for turns in range(40):
        tasks: list[asyncio.Task[object]] = [
            asyncio.create_task(work(store)) for _ in range(10) for work in (add, stored)
        ]
        for _ in range(turns % 20):
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    before = await add(store)
    assert await asyncio.gather(*(add(store) for _ in range(50))) == list(range(before + 1, before + 51))
    assert await asyncio.gather(*(stored(store) for _ in range(50))) == [before + 50] * 50


async def test_batches_are_of_one_age(servers: Servers) -> None:
    """One that has waited long has little time left, and a batch no more than its oldest: later ones go apart."""
    store = Store(servers, timeout=2_000, history_size=3, marker_seconds=MARKER_SECONDS)
    loop = asyncio.get_running_loop()
    ages = [1_400, 1_200, 950, 500, 450, 50]
    for number, age in enumerate(ages):
        store._waiting.append(
            Operation(
                user=f"u{number}",
                deadline=loop.time() + 2_000 - age,
                done=loop.create_future(),
                reads=(),
                step=lambda _: Change(None),
            )
        )
    batches = []
    while store._waiting:
        batches.append([operation.user for operation in store._take()])
    if servers.spans_users:
        assert batches == [["u0", "u1", "u2"], ["u3", "u4", "u5"]]


async def test_close_lets_updates_end(servers: Servers) -> None:
    """Closing waits for updates that are under way."""
    store = Store(servers, timeout=PATIENCE_SECONDS, history_size=3, marker_seconds=MARKER_SECONDS)
    tasks = [asyncio.create_task(add(store, f"u{number}")) for number in range(200)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await store.close()
    assert [task.result() for task in tasks] == [1] * 200


async def test_close_without_use(store_url: str) -> None:
    """A store that was never used closes like any other."""
    await Store(
        open_servers(store_url, size=8, timeout=PATIENCE_SECONDS),
        timeout=PATIENCE_SECONDS,
        history_size=3,
        marker_seconds=MARKER_SECONDS,
    ).close()


async def test_counter_of_a_span(store: Store, servers: Servers) -> None:
    """A counter counts up from 1 and expires after its span."""
    assert [await store.count("c", 3_600) for _ in range(3)] == [1, 2, 3]
    assert await ask(servers, "TTL", "c") in range(1, 3_601)
    await ask(servers, "SET", "c", "text")
    with pytest.raises(CorruptState, match="c: is not a counter"):
        await store.count("c", 3_600)


async def test_flushes_are_told(servers: Servers) -> None:
    """An observer gets each flush: how many operations went together, and the error if there was one."""
    flushes: list[Flush] = []
    store = Store(
        servers, timeout=PATIENCE_SECONDS, history_size=3, marker_seconds=MARKER_SECONDS, observe=flushes.append
    )
    await asyncio.gather(*(add(store) for _ in range(5)))
    await store.close()
    [flush] = flushes
    assert (flush.operations, flush.conflicts, flush.failures, flush.error) == (5, 0, 0, None)


async def test_a_defect_fails_its_batch_and_is_logged(
    store: Store, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A defect of the store's own reaches the callers and the log; the next update is served."""

    async def broken(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(store._transactions, "_attempt", broken)
        with pytest.raises(ZeroDivisionError):
            await add(store)
    assert "a flush failed" in caplog.text
    assert await add(store) == 1


# Replicas on one real Redis


async def test_replicas_count_one_user_exactly(replica: Callable[..., Store]) -> None:
    """Updates of one user over several replicas are all counted, each once, the retries' steps included."""
    stores = [replica() for _ in range(4)]
    numbers = await asyncio.gather(*(add(store) for _ in range(100) for store in stores))
    assert sorted(numbers) == list(range(1, 401))
    assert await stored(stores[0]) == 400


async def test_replicas_count_many_users_exactly(replica: Callable[..., Store]) -> None:
    """Batches of many users that overlap between replicas lose nothing."""
    stores = [replica() for _ in range(3)]
    users = [f"u{number}" for number in range(12)]
    await asyncio.gather(*(add(store, user) for _ in range(20) for store in stores for user in users))
    assert [await stored(stores[0], user) for user in users] == [60] * len(users)


async def test_replicas_race_on_one_marker(replica: Callable[..., Store]) -> None:
    """One key sent to several replicas at once is applied by one of them; the others see it."""
    stores = [replica() for _ in range(4)]
    for number in range(20):
        results = await asyncio.gather(*(add(store, once=f"k{number}") for store in stores for _ in range(2)))
        assert sorted(results) == [-1] * 7 + [number + 1]


async def test_update_in_flight_while_another_replica_wipes(
    replica: Callable[..., Store], real_redis: RedisServer
) -> None:
    """An update that read before a wipe and would write after it starts again from nothing."""
    with Proxy(real_redis.port) as proxy:
        slow, other = replica(proxy.url), replica()
        await add(slow, amount=10)
        proxy.hold_exec()
        task = asyncio.create_task(add(slow))
        await until_async(lambda: _is(proxy.held == 1), "EXEC held")
        await other.wipe("u", [key_of("u")])
        proxy.release()
        assert await task == 1
        assert await stored(other) == 1


async def _is(condition: bool) -> bool:
    return condition


async def _conflicting(store: Store, real_redis: RedisServer, users: set[str], times: int) -> dict[str, int]:
    """Another writer comes first: it writes to `users` after each read of the store, `times` times in all."""
    attempts = dict.fromkeys(users, 0)
    with real_redis.client() as writer:

        def meddling(user: str) -> Step[int]:
            def step(values: Values) -> Change[int]:
                attempts[user] += 1
                if attempts[user] <= times:
                    writer.hincrby(key_of(user), "n", 100)
                return count(key=key_of(user))(values)

            return step

        results = await asyncio.gather(
            *(store.update(user, (Hash(key_of(user), N),), meddling(user)) for user in users),
            add(store, "bystander"),
            return_exceptions=True,
        )
    assert results[-1] == 1
    for user, result in zip(users, results, strict=False):
        assert isinstance(result, ConflictError) if attempts[user] <= times else result == times * 100 + 1
    return attempts


async def test_lost_races_are_tried_again(replica: Callable[..., Store], real_redis: RedisServer) -> None:
    """After a few lost races it is tried again, in the end for each user alone, and no caller notices."""
    flushes: list[Flush] = []
    attempts = await _conflicting(replica(observe=flushes.append), real_redis, {"a", "b"}, 4)
    assert max(attempts.values()) > 4
    assert sum(flush.conflicts for flush in flushes) >= 4
    assert all(flush.error is None for flush in flushes)


async def test_races_lost_for_ever_are_a_conflict(replica: Callable[..., Store], real_redis: RedisServer) -> None:
    """When other writers always come first, the update fails within its time and writes nothing; others succeed."""
    flushes: list[Flush] = []
    store = replica(observe=flushes.append)
    attempts = await _conflicting(store, real_redis, {"a"}, 1_000)
    assert attempts["a"] <= 20
    assert await stored(store, "a") == 100 * attempts["a"]
    assert [flush.error for flush in flushes if flush.error] == ["ConflictError"]


async def test_one_users_flood_starves_no_other(replica: Callable[..., Store], real_redis: RedisServer) -> None:
    """While hundreds of updates of one user wait, and one of its flushes hangs, another user is served at once."""
    with Proxy(real_redis.port) as proxy:
        store = replica(proxy.url)
        proxy.hold_exec()
        flood = [asyncio.create_task(add(store, "flood")) for _ in range(300)]
        await until_async(lambda: _is(proxy.held == 1), "EXEC held")
        assert await add(store, "other") == 1
        assert not any(task.done() for task in flood)
        proxy.release()
        assert await asyncio.gather(*flood) == list(range(1, 301))


async def test_what_waited_too_long_fails_alone(replica: Callable[..., Store], real_redis: RedisServer) -> None:
    """An update whose time is up before its turn comes is refused; one that came later, with time left, is served."""
    with Proxy(real_redis.port) as proxy:
        store = replica(proxy.url, timeout=400)
        proxy.hold_exec()
        first = asyncio.create_task(add(store))
        await until_async(lambda: _is(proxy.held == 1), "EXEC held")
        second, third = asyncio.create_task(add(store)), asyncio.create_task(add(store))
        await until_async(lambda: _is(len(store._waiting) == 2), "the others wait for their user's flush")
        # A quarter of the 400 s is kept for asking: the second has less left, the third more, and not so much more that
        # it would not go with the second.
        for operation, left in zip(store._waiting, (90, 160), strict=True):
            operation.deadline = asyncio.get_running_loop().time() + left
        proxy.release()
        assert await first == 1
        with pytest.raises(StoreUnavailable, match="did not answer in time"):
            await second
        assert await third == 2


async def test_a_flush_that_is_cancelled_leaves_no_caller_waiting(
    replica: Callable[..., Store], real_redis: RedisServer
) -> None:
    """When the loop cancels a flush, its callers get an error, and its lane is free again."""
    with Proxy(real_redis.port) as proxy:
        store = replica(proxy.url)
        proxy.hold_exec()
        task = asyncio.create_task(add(store))
        await until_async(lambda: _is(proxy.held == 1), "EXEC held")
        next(iter(store._flights)).cancel()
        with pytest.raises(StoreUnavailable, match="the service is shutting down"):
            await task
        proxy.heal()
        assert len(store._lanes) == 2
        assert await add(store) in {1, 2}


async def test_the_pool_is_bounded_and_waits(redis_url: str, real_redis: RedisServer) -> None:
    """No more connections are opened than allowed; hundreds of reads at once wait for each other."""
    servers = open_servers(f"{redis_url}?client_name=bounded", size=3, timeout=PATIENCE_SECONDS)
    store = Store(servers, timeout=PATIENCE_SECONDS, history_size=3, marker_seconds=MARKER_SECONDS)
    assert await asyncio.gather(*(stored(store, f"u{number}") for number in range(300))) == [0] * 300
    clients = real_redis.command("CLIENT", "LIST")
    await store.close()
    assert clients.count(" name=bounded ") == 3  # others may not have hung up yet, of tests before this one


async def test_connections_closed_by_the_server_are_replaced(
    replica: Callable[..., Store], real_redis: RedisServer
) -> None:
    """Redis may close idle connections at any time: the next requests notice nothing."""
    flushes: list[Flush] = []
    store = replica(observe=flushes.append)
    for number in range(1, 20):
        assert list(await asyncio.gather(add(store), stored(store, "v"))) == [number, 0]
        real_redis.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await asyncio.sleep(0)
    assert await stored(store) == 19


async def test_a_change_in_part_is_an_error_and_loud(
    replica: Callable[..., Store], real_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Another client turns the history into a string between read and EXEC: Redis applies the rest; it is logged."""
    with Proxy(real_redis.port) as proxy, caplog.at_level(logging.CRITICAL):
        store = replica(proxy.url)
        proxy.hold_exec()
        task = asyncio.create_task(store.update("u", BOTH, count(entry=b"e")))
        await until_async(lambda: _is(proxy.held == 1), "EXEC held")
        real_redis.command("SET", keys.history("u"), "text")
        proxy.release()
        with pytest.raises(StoreError, match="a part of the change was refused"):
            await task
    assert "applied in part" in caplog.text


async def test_without_the_right_to_multi_nothing_is_written() -> None:
    """A user whose ACL denies MULTI gets StoreUnavailable; its writes are not made one by one instead."""
    with redis_server("--user", "nomulti", "on", ">pw", "+@all", "-multi", "~*") as server:
        url = server.url.replace("redis://", "redis://nomulti:pw@")
        store = Store(
            open_servers(url, size=8, timeout=PATIENCE_SECONDS),
            timeout=PATIENCE_SECONDS,
            history_size=3,
            marker_seconds=MARKER_SECONDS,
        )
        with pytest.raises(StoreUnavailable, match="Redis refuses: NoPermissionError"):
            await add(store)
        assert server.command("DBSIZE") == 0
        server.command("ACL", "SETUSER", "nomulti", "+multi", "-exec")
        with pytest.raises(StoreUnavailable, match="Redis refuses"):
            await add(store)
        server.command("ACL", "SETUSER", "nomulti", "+exec")
        assert await add(store) == 1
        await store.close()
