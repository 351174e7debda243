"""What was acknowledged is stored exactly once, whatever happens to EXEC, its reply or its caller."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from state import keys
from state.errors import StoreError, StoreUnavailable
from state.redis.connect import open_servers
from state.redis.exchange import exchange
from state.redis.scan import scan
from state.store import Store
from state.update.changes import Append, Change, Fields, Hash, List, Once, Values
from tests.support.faults import Proxy
from tests.support.redis_groups import Cluster, redis_cluster
from tests.support.redis_servers import RedisServer
from tests.support.waiting import PATIENCE_SECONDS, until_async

pytestmark = pytest.mark.anyio

N = (b"n",)


def key_of(user: str) -> str:
    return keys.record(user, "p")


async def add(store: Store, user: str = "u", once: str | None = None) -> int:
    """Add 1 to the counter of a user; what it has come to, or -1 if `once` was seen."""

    key, past = key_of(user), keys.history(user)

    def step(values: Values) -> Change[int]:
        number = int(values[key][0] or b"0") + 1
        return Change(number, (Fields(key, {b"n": b"%d" % number}), Append(past, b"%d" % number)))

    marker = Once(keys.marker(user, "p", once), b"r", seen=-1) if once else None
    return await store.update(user, (Hash(key, N), List(past)), step, once=marker)


async def stored(store: Store, user: str = "u") -> int:
    """The counter of a user, which must agree with the history."""
    [value] = await store.read(key_of(user), N)
    number = int(value or b"0")
    assert await store.history(user) == [b"%d" % entry for entry in range(1, number + 1)]
    return number


async def held(proxy: Proxy, number: int = 1) -> None:
    async def enough() -> bool:
        return proxy.held == number

    await until_async(enough, "EXEC held")


class Clock:
    """Ends the waits of the store when the test says so: then each has come as far as the test means."""

    def __init__(self) -> None:
        self._over = False
        self._last: asyncio.Timeout | None = None

    def timeout_at(self, when: float | None) -> asyncio.Timeout:
        self._last = asyncio.Timeout(asyncio.get_running_loop().time() if self._over else when)
        return self._last

    def strike(self) -> None:
        """The wait that began last is over."""
        assert self._last is not None
        self._last.reschedule(asyncio.get_running_loop().time())

    @contextmanager
    def over(self) -> Iterator[None]:
        """The wait that began last is over, and so is each that begins within."""
        self._over = True
        self.strike()
        try:
            yield
        finally:
            self._over = False


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(asyncio, "timeout_at", clock.timeout_at)
    return clock


def accept_again(proxy: Proxy) -> None:
    """Take connections again, and still hold what is held."""
    proxy._do(proxy._listen())


class Place:
    """A Redis behind a proxy: standalone, or the node of a cluster that has the slot of user `u`."""

    def __init__(self, proxy: Proxy, server: RedisServer, url: str, direct: str) -> None:
        self.proxy = proxy
        self.server = server
        self.url = url
        self.direct = direct
        self.stores: list[Store] = []

    def store(self, *, direct: bool = False, timeout: float = PATIENCE_SECONDS) -> Store:
        """A store that goes through the proxy, or one that meets no faults."""
        servers = open_servers(self.direct if direct else self.url, size=32, timeout=timeout)
        self.stores.append(Store(servers, timeout=timeout, history_size=1_000_000, marker_seconds=3_600))
        return self.stores[-1]


@pytest.fixture(scope="module")
def cluster() -> Iterator[tuple[Cluster, list[Proxy]]]:
    """Three nodes, each announcing a proxy to its clients."""
    with ExitStack() as stack:
        proxies: list[Proxy] = []

        def announce(port: int) -> int:
            proxies.append(stack.enter_context(Proxy(port)))
            return proxies[-1].port

        with redis_cluster(announce=announce) as cluster:
            yield cluster, proxies


@pytest.fixture(params=["standalone", "cluster"])
async def place(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    """Each kind of Redis in turn, empty and without faults."""
    with ExitStack() as stack:
        if request.param == "standalone":
            server: RedisServer = request.getfixturevalue("real_redis")
            proxy = stack.enter_context(Proxy(server.port))
            place = Place(proxy, server, proxy.url, server.url)
        else:
            cluster, proxies = request.getfixturevalue("cluster")
            for node, proxy in zip(cluster.masters, proxies, strict=True):
                node.command("FLUSHALL")
                proxy.heal()
            owner = cluster.owner(key_of("u"))
            proxy = proxies[cluster.masters.index(owner)]
            place = Place(proxy, owner, cluster.url, cluster.url)
        await add(place.store(), "warm}up")  # connected, so that faults meet what the test means
        yield place
        proxy.heal()
        for store in place.stores:
            await store.close()


Fault = Callable[[Proxy], None]


def _lose(proxy: Proxy) -> None:
    proxy.lose_reply()


def _delay(proxy: Proxy) -> None:
    proxy.delay_reply(3_600)


def _swallow(proxy: Proxy) -> None:
    proxy.swallow_reply()


FAULTS: list[Fault] = [_lose, _delay, _swallow]


async def applied(place: Place, number: int) -> None:
    """Wait until the counter is so high, as the server itself says."""

    async def reached() -> bool:
        return bool(place.server.command("HGET", key_of("u"), "n") == str(number))

    await until_async(reached, "EXEC applied")


@pytest.mark.parametrize("fault", FAULTS)
async def test_reply_that_never_comes(place: Place, clock: Clock, fault: Fault) -> None:
    """EXEC was applied and its reply is lost, late or swallowed: asking finds it, and it is acknowledged, once."""
    store = place.store()
    assert await add(store) == 1
    fault(place.proxy)
    task = asyncio.create_task(add(store))
    await applied(place, 2)
    if fault is not _lose:
        clock.strike()
    assert await task == 2
    assert await stored(store) == 2


@pytest.mark.parametrize("fault", FAULTS)
async def test_reply_that_never_comes_of_a_batch(place: Place, clock: Clock, fault: Fault) -> None:
    """The fate of a transaction is that of every update in it."""
    store = place.store()
    fault(place.proxy)
    tasks = [asyncio.create_task(add(store)) for _ in range(50)]
    await applied(place, 50)
    if fault is not _lose:
        clock.strike()
    assert await asyncio.gather(*tasks) == list(range(1, 51))
    assert await stored(store) == 50


async def test_many_lost_replies_among_other_writers(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replies lost again and again, while a second replica writes to the same user: the sum is exact."""
    # A replica that thrice in a row loses the race and the reply that says so would call Redis away.
    monkeypatch.setattr("state.redis.failure._FAILURES", 1_000)
    store, other = place.store(), place.store()
    numbers: list[int] = []

    async def client(store: Store) -> None:
        for _ in range(10):
            place.proxy.lose_reply()
            while True:
                try:
                    numbers.append(await add(store))
                    break
                except StoreUnavailable:  # never, if the outcome could be asked
                    raise
                except StoreError:
                    continue

    await asyncio.gather(*(client(store) for store in (store, other) for _ in range(4)))
    place.proxy.heal()
    assert sorted(numbers) == list(range(1, 81))
    assert await stored(store) == 80


async def test_cut_before_exec_arrives(place: Place) -> None:
    """The connection ends while EXEC is on its way: it is fenced off, sent anew, and when it arrives at last, void."""
    store = place.store()
    assert await add(store) == 1
    place.proxy.hold_exec()
    task = asyncio.create_task(add(store))
    await held(place.proxy)
    place.proxy.cut()
    assert await task == 2
    place.proxy.release()
    assert await add(store) == 3
    assert await stored(store) == 3


async def test_exec_held_for_longer_than_its_caller_waits(place: Place, clock: Clock) -> None:
    """EXEC arrives long after its sender gave it up: it was fenced off, and only what was acknowledged is stored."""
    store = place.store()
    place.proxy.hold_exec()
    task = asyncio.create_task(add(store))
    await held(place.proxy)
    clock.strike()
    with pytest.raises(StoreUnavailable):
        await task
    assert place.proxy.held == 1
    place.proxy.release()
    await held(place.proxy, 0)
    assert await stored(store) == 0
    # Much longer than any request may take: Redis' clock may jump, as on a machine that was suspended.
    assert [ttl for ttl in await lives_of_operation_ids(place) if not 80_000 < ttl <= 86_400] == []
    assert await add(store) == 1


async def lives_of_operation_ids(place: Place) -> list[int]:
    """The seconds after which Redis forgets what the replicas left in it; -1 for never."""
    servers = place.store(direct=True)._servers
    async with servers.connection(keys.history("u")) as connection:
        names = [name async for page in scan(connection, "*flight:*", patience=PATIENCE_SECONDS) for name in page]
        assert names
        lives: list[int] = await exchange(connection, [("TTL", name) for name in names])
        return lives


async def test_exec_released_amid_later_writes(place: Place) -> None:
    """A late EXEC overwrites nothing that other replicas wrote meanwhile."""
    store, other = place.store(), place.store()
    place.proxy.hold_exec()
    task = asyncio.create_task(add(store))
    await held(place.proxy)
    assert [await add(other) for _ in range(3)] == [1, 2, 3]
    place.proxy.release()
    assert await task == 4
    assert await stored(other) == 4


async def test_retry_with_a_marker_after_an_unknown_outcome(place: Place, clock: Clock) -> None:
    """Neither the reply to EXEC nor the answer to what became of it comes; the client's retry gives exactly once,
    whether the held EXEC arrives before or after it."""
    for number, release_first in enumerate((True, False), 1):
        store, other = place.store(), place.store()
        await add(other, "warm}up")
        place.proxy.hold_exec()
        task = asyncio.create_task(add(store, once=f"k{number}"))
        await held(place.proxy)
        place.proxy.refuse()
        with clock.over(), pytest.raises(StoreUnavailable):
            await task
        if release_first:
            place.proxy.heal()  # releases too
        else:
            accept_again(place.proxy)
        retried = await add(place.store(), once=f"k{number}")
        assert retried in {number, -1} if release_first else retried == number
        place.proxy.heal()
        await held(place.proxy, 0)
        assert await add(place.store(), once=f"k{number}") == -1
        assert await stored(other) == number


async def test_cancelled_while_exec_is_under_way(place: Place) -> None:
    """The caller goes away while EXEC is on its way: the update is in or not, once, and the next one is served."""
    store = place.store()
    for number in range(1, 6):
        place.proxy.hold_exec()
        task = asyncio.create_task(add(store, once=f"k{number}"))
        await held(place.proxy)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        place.proxy.release()
        assert await add(store, once=f"k{number}") == -1  # waits for its user's flush, which went on
    assert await stored(store) == 5


async def test_a_wipe_that_arrives_late_takes_nothing(place: Place, clock: Clock) -> None:
    """A wipe whose outcome is unknown arrives after later updates were acknowledged: they stay."""
    store, other = place.store(), place.store()
    assert [await add(other), await add(other)] == [1, 2]
    place.proxy.hold_exec()
    task = asyncio.create_task(store.wipe("u", [key_of("u"), keys.history("u")]))
    await held(place.proxy)
    place.proxy.refuse()
    with clock.over(), pytest.raises(StoreUnavailable):
        await task
    accept_again(place.proxy)
    assert await add(other) == 3
    place.proxy.release()
    await held(place.proxy, 0)
    assert await add(other) == 4
    assert await stored(other) == 4


async def test_the_question_fails_too(real_redis: RedisServer) -> None:
    """The connections that ask what became of EXEC are cut as well: it is asked until there is an answer."""
    with Proxy(real_redis.port) as proxy, Proxy(proxy.port, on="APPEND") as question:
        place = Place(question, real_redis, question.url, real_redis.url)
        store = place.store()
        proxy.lose_reply()
        question.lose_reply()
        question.lose_reply()
        assert await add(store) == 1
        assert question.met == 3
        assert await stored(store) == 1
        await store.close()


async def test_clients_that_retry_until_acknowledged(place: Place) -> None:
    """Faults of every kind, one after the other, two replicas, clients that retry with their key until they are told
    so: each of their updates is in exactly once."""
    stores = [place.store(), place.store()]
    stop = asyncio.Event()

    def arrived() -> int:
        return place.proxy.met + place.proxy.held

    async def another(before: int) -> None:
        async def here() -> bool:
            return stop.is_set() or arrived() > before

        await until_async(here, "the next EXEC")

    async def disturb() -> None:
        kinds: list[Callable[[], None]] = [
            place.proxy.lose_reply,
            lambda: place.proxy.delay_reply(0.05),
            lambda: place.proxy.hold_exec(0.1),
            place.proxy.lose_reply,
            place.proxy.cut,
        ]
        turn = 0
        while not stop.is_set():
            before = arrived()
            kinds[turn % len(kinds)]()
            turn += 1
            # Not by a clock, for on a busy machine every connection would be cut before anything came through.
            await another(before)

    async def client(name: int) -> None:
        for number in range(10):
            while True:
                try:
                    await add(stores[(name + number) % 2], once=f"{name}-{number}")
                    break
                except StoreError:
                    continue

    async def until_done(work: Awaitable[object]) -> None:
        try:
            await work
        finally:
            stop.set()

    await asyncio.gather(disturb(), until_done(asyncio.gather(*(client(name) for name in range(8)))))
    place.proxy.heal()
    assert await stored(place.store(direct=True)) == 80
