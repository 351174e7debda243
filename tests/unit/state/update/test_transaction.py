"""The optimistic update over the embedded store: lost races, lost replies, and how long is waited for what."""

import asyncio
from typing import Any

import pytest
from redis.exceptions import ConnectionError, NoPermissionError  # noqa: A004  # redis-py's name

from state import keys
from state.errors import ConflictError, StoreError, StoreUnavailable
from state.redis import replicas
from state.redis.exchange import exchange
from state.redis.failure import Outage
from state.update import transaction
from state.update.changes import (
    MOMENT,
    Append,
    Backlog,
    Change,
    Emit,
    Entry,
    Fields,
    Hash,
    List,
    Moment,
    More,
    Read,
    Step,
    Values,
    entry,
)
from state.update.operation import Emitted, Flush, Operation, fail
from state.update.transaction import RESERVE, Lane, Transactions
from state.update.turns import KIND
from tests.unit.state.wire import CUT, LOSE, Wire

pytestmark = pytest.mark.anyio

TIMEOUT = 100.0
KEY, PAST = "oo:{u}:p", "oo:{u}:history"
READS: tuple[Read, ...] = (Hash(KEY, (b"n",)), List(PAST))


def add(values: Values) -> Change[int]:
    number = int(values[KEY][0] or 0) + 1
    return Change(number, (Fields(KEY, {b"n": b"%d" % number}), Append(PAST, b"e")))


class Update:
    """Transactions over a wire, the flushes they told of, and one lane."""

    def __init__(
        self, *, wait_replicas: int | None = 0, spans_users: bool = True, outage: Outage | None = None
    ) -> None:
        self.wire = Wire(spans_users=spans_users)
        self.flushes: list[Flush] = []
        self.lane = Lane("x")
        self.transactions = Transactions(
            self.wire,
            timeout=TIMEOUT,
            history_size=9,
            marker_seconds=60,
            wait_replicas=wait_replicas,
            observe=self.flushes.append,
            outage=outage or Outage(),
        )

    async def make(self, step: Step[Any] = add, *, reads: tuple[Read, ...] = READS, alone: bool = True) -> object:
        """The result of one change, and whether it was decided in this flush."""
        loop = asyncio.get_running_loop()
        operation = Operation(
            user="u", deadline=loop.time() + TIMEOUT, done=loop.create_future(), reads=reads, step=step
        )
        decided = await self.transactions.commit(self.lane, [operation], alone=alone)
        return await operation.done if decided else "undecided"

    async def stored(self) -> list[object]:
        return await self.wire.ask(("HGET", KEY, "n"), ("LLEN", PAST))

    async def rival(self) -> None:
        """Another writer changes the same key."""
        await self.wire.ask(("HSET", KEY, "n", 100))


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transaction, "_LONGEST_PAUSE", 0.0)
    monkeypatch.setattr("state.redis.failure._jitter.uniform", lambda *_: 0.0)


async def test_two_round_trips() -> None:
    """WATCH, reads and MULTI in the first; writes, operation id and EXEC in the second."""
    update = Update()
    assert await update.make() == 1
    assert update.wire.sent == [
        ["WATCH", "HMGET", "LLEN", "MULTI"],
        ["HSET", "RPUSH", "SET", "EXEC"],
    ]
    [flush] = update.flushes
    assert (flush.operations, flush.conflicts, flush.failures, flush.error) == (1, 0, 0, None)


async def test_a_lost_race_is_followed_by_a_turn() -> None:
    """The change waits for it, and ends it with the transaction that makes it; or with one that writes nothing."""
    update = Update()
    update.wire.on("EXEC", update.rival)
    assert await update.make() == 101
    assert update.transactions.turns.wanted("u")
    assert update.wire.sent[2:] == [
        ["SET"],
        ["WATCH", "HMGET", "LLEN", "MULTI"],
        ["HSET", "RPUSH", "DEL", "SET", "EXEC"],
    ]
    update.wire.on("EXEC", update.rival)
    seen: list[int] = []

    def once(values: Values) -> Change[int]:
        seen.append(1)
        return add(values) if len(seen) == 1 else Change(0)

    assert await update.make(once) == 0
    assert update.wire.sent[-1] == ["DISCARD", "DEL"]
    assert await update.wire.ask(("EXISTS", keys.of("u", KIND))) == [0]


async def test_the_operation_id_expires_after_a_day() -> None:
    """It outlives a clock of Redis that jumps by hours; each transaction of a lane has the next number."""
    update = Update()
    await update.make()
    await update.make()
    flight = keys.flight("x", None)
    assert await update.wire.ask(("GET", flight), ("TTL", flight)) == [b"2|", 86_400]


async def test_on_a_cluster_it_is_in_the_user_s_slot() -> None:
    """There a transaction cannot span slots."""
    update = Update(spans_users=False)
    await update.make()
    assert await update.wire.ask(("EXISTS", keys.flight("x", "u"))) == [1]


async def test_nothing_to_write() -> None:
    """A step that writes nothing ends its MULTI, and is not an error."""
    update = Update()
    assert await update.make(lambda _: Change("seen")) == "seen"
    assert update.wire.sent[-1] == ["DISCARD"]
    assert await update.make() == 1


def add_to_another(values: Values) -> Change[int]:
    """As `add`, after asking for an entry of another hash."""
    if entry("oo:{u}:d", b"one") not in values:
        raise More((Entry("oo:{u}:d", b"one"),))
    change = add(values)
    return Change(change.result, (*change.writes, Fields("oo:{u}:d", {b"one": b"%d" % change.result})))


async def test_nothing_to_write_does_not_end_a_refusal_of_writes(caplog: pytest.LogCaptureFixture) -> None:
    """A full Redis is read all the time, also by changes that turn out to be none: a write tells that it is over."""
    now = [0.0]
    outage = Outage(clock=lambda: now[0])
    update = Update(outage=outage)
    outage.note(StoreUnavailable("Redis refuses: OutOfMemoryError", reads=True))
    now[0] = 5.0
    assert await update.make(lambda _: Change(7)) == 7
    assert caplog.messages == ["Redis refuses: OutOfMemoryError: requests are answered 503"]
    assert await update.make() == 1
    assert caplog.messages[1:] == ["Redis answers again"]


async def test_more_is_one_round_trip_more() -> None:
    """What was watched is let go and watched again, so a race is lost as before; each change is made once."""
    update = Update()
    assert await update.make(add_to_another) == 1
    assert update.wire.sent == [
        ["WATCH", "HMGET", "LLEN", "MULTI"],
        ["DISCARD", "WATCH", "HMGET", "LLEN", "HGET", "MULTI"],
        ["HSET", "RPUSH", "HSET", "SET", "EXEC"],
    ]
    update.wire.on("EXEC", update.rival)
    assert await update.make(add_to_another) == 101
    update.wire.on("EXEC", LOSE)
    assert await update.make(add_to_another) == 102
    update.wire.on("DISCARD", update.rival)
    assert await update.make(add_to_another) == 101
    assert await update.wire.ask(("HGET", "oo:{u}:d", "one"), ("LLEN", PAST)) == [b"101", 4]


async def test_more_and_nothing_to_write() -> None:
    """The transaction is ended, and the connection serves the next one."""
    update = Update()

    def look(values: Values) -> Change[object]:
        if MOMENT not in values:
            raise More((Moment(),))
        return Change(len(values[MOMENT]))

    assert await update.make(look) == 2
    assert update.wire.sent[1:] == [["DISCARD", "WATCH", "HMGET", "LLEN", "TIME", "MULTI"], ["DISCARD"]]
    assert await update.make() == 1


async def test_a_lost_race_is_run_again() -> None:
    """The step sees what the other writer left; the flush counts the race."""
    update = Update()
    update.wire.on("EXEC", update.rival, update.rival)
    assert await update.make() == 101
    assert update.flushes[-1].conflicts == 2


async def test_races_lost_together_and_alone() -> None:
    """Together it is given up after three, for each user to go alone; alone after twelve, and then it is an error."""
    update = Update()
    update.wire.on("EXEC", *[update.rival] * 15)
    assert await update.make(alone=False) == "undecided"
    assert update.flushes[-1].conflicts == 3
    with pytest.raises(ConflictError):
        await update.make()
    assert (update.flushes[-1].conflicts, update.flushes[-1].error) == (12, "ConflictError")
    assert await update.stored() == [b"100", 0]


async def test_cut_before_exec() -> None:
    """What did not arrive is asked for, and made once."""
    update = Update()
    update.wire.on("EXEC", CUT)
    assert await update.make() == 1
    assert update.wire.sent[2] == ["APPEND", "GET", "EXPIRE"]
    assert await update.stored() == [b"1", 1]
    assert update.flushes[-1].failures == 1


async def test_a_lost_reply() -> None:
    """What was applied is found, and not made again."""
    update = Update()
    update.wire.on("EXEC", LOSE)
    assert await update.make() == 1
    assert update.wire.sent[2:] == [["APPEND", "GET", "EXPIRE"]]
    assert await update.stored() == [b"1", 1]
    assert update.flushes[-1].failures == 0


async def test_a_question_that_fails_is_asked_again() -> None:
    """The outcome stays unknown until there is an answer, whose own loss does no harm."""
    update = Update()
    update.wire.on("EXEC", LOSE)
    update.wire.on("APPEND", CUT, LOSE)
    assert await update.make() == 1
    assert await update.stored() == [b"1", 1]


async def test_a_failure_before_exec_asks_nothing() -> None:
    """Nothing was sent that could have been applied; after three failures it is given up."""
    update = Update()
    update.wire.on("WATCH", CUT)
    assert await update.make() == 1
    assert not any("APPEND" in names for names in update.wire.sent)
    update.wire.on("WATCH", CUT, CUT, CUT)
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        await update.make()
    assert (update.flushes[-1].failures, update.flushes[-1].error) == (3, "StoreUnavailable")


async def test_refused_as_a_whole() -> None:
    """An error reply to MULTI keeps the writes from being sent."""
    update = Update()
    update.wire.on("MULTI", *[NoPermissionError("NOPERM")] * 3)
    with pytest.raises(StoreUnavailable, match="Redis refuses: NoPermissionError"):
        await update.make()
    assert not any("HSET" in names for names in update.wire.sent)


async def test_a_refused_exec_is_not_in_doubt() -> None:
    """Its error reply says that nothing was applied, so nothing is asked."""
    update = Update()
    update.wire.on("EXEC", NoPermissionError("NOPERM"))
    assert await update.make() == 1
    assert not any("APPEND" in names for names in update.wire.sent)


async def test_once_asked_a_late_transaction_is_void() -> None:
    """The question changes the key that the transaction watches, before it reads it."""
    update = Update()
    await update.make()
    flight = keys.flight("x", None)
    late = update.wire.connection(flight)
    async with late as connection:
        await exchange(connection, [("WATCH", flight)])
        deadline = asyncio.get_running_loop().time() + TIMEOUT
        assert await update.transactions._was_applied(update.lane, flight, deadline)
        replies = await exchange(connection, [("MULTI",), ("SET", "k", 1), ("EXEC",)])
    assert replies[-1] is None
    update.lane.number += 1
    assert not await update.transactions._was_applied(update.lane, flight, deadline)
    assert await update.wire.ask(("GET", flight), ("TTL", flight)) == [b"1|??", 86_400]


async def test_time_is_kept_for_the_question(monkeypatch: pytest.MonkeyPatch) -> None:
    """An attempt has three quarters of the time, and the question all that is left."""
    limits: list[float | None] = []

    def noted(when: float | None) -> asyncio.Timeout:
        limits.append(when)
        return asyncio.Timeout(when)

    monkeypatch.setattr(asyncio, "timeout_at", noted)
    update = Update()
    update.wire.on("EXEC", LOSE)
    now = asyncio.get_running_loop().time()
    assert await update.make() == 1
    assert [round((limit or 0.0) - now) for limit in limits] == [round(TIMEOUT * (1 - RESERVE)), TIMEOUT]


async def test_a_time_limit_while_exec_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """The attempt is cut short, the outcome asked for; not applied, it is given up: there is no time for another."""
    limits: list[asyncio.Timeout] = []

    def noted(when: float | None) -> asyncio.Timeout:
        limits.append(asyncio.Timeout(when))
        return limits[-1]

    async def over() -> None:
        limits[-1].reschedule(asyncio.get_running_loop().time())
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio, "timeout_at", noted)
    update = Update()
    update.wire.on("EXEC", over)
    with pytest.raises(StoreUnavailable, match="did not answer in time"):
        await update.make()
    assert update.wire.sent[-1] == ["APPEND", "GET", "EXPIRE"]
    assert await update.stored() == [None, 0]


async def test_a_write_refused_within_the_transaction(caplog: pytest.LogCaptureFixture) -> None:
    """Another client gives the history another type after it was read: it is loud, and never tried again."""
    update = Update()
    update.wire.on("EXEC", lambda: update.wire.ask(("SET", PAST, "text")))
    with pytest.raises(StoreError, match="a part of the change was refused"):
        await update.make()
    assert "applied in part" in caplog.text
    assert len(update.wire.sent) == 2


async def test_replicas_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether something was written or found as it should be; too few replicas are an error."""
    asked, enough = list[object](), True

    async def answered(_: object, commands: list[tuple[object, ...]]) -> list[object]:
        asked.append(commands)
        return [b"OK", int(enough)]

    monkeypatch.setattr(replicas, "exchange", answered)
    update = Update(wait_replicas=1)
    assert await update.make() == 1
    assert len(asked) == 1
    enough = False
    for step in (add, lambda _: Change("seen")):
        with pytest.raises(StoreUnavailable, match="too few Redis replicas"):
            await update.make(step)


async def test_lines_are_published_once_replicas_have_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failover may undo a change that too few replicas have: its lines stay in the stream, and go with it."""
    enough = False

    async def answered(*_: object) -> list[object]:
        return [b"OK", int(enough)]

    def step(_: Values) -> Change[None]:
        return Change(None, (Emit("oo:outbox", "tips", b"{}"),))

    monkeypatch.setattr(replicas, "exchange", answered)
    update, told, reads = Update(wait_replicas=1), list[Emitted](), (Backlog("oo:outbox"),)
    update.transactions.emitted = told.extend
    with pytest.raises(StoreUnavailable, match="too few Redis replicas"):
        await update.make(step, reads=reads)
    assert (told, await update.wire.ask(("XLEN", "oo:outbox"))) == ([], [1])
    enough = True
    await update.make(step, reads=reads)
    assert [one.line for one in told] == [b"{}"]


async def test_a_failure_while_replicas_are_waited_for() -> None:
    """The change is made, so it is not tried again."""
    update = Update(wait_replicas=1)
    update.wire.on("WAIT", CUT)
    with pytest.raises(StoreUnavailable):
        await update.make()
    assert await update.stored() == [b"1", 1]


async def test_a_defect_of_ours(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Callers get it, and the log has its traceback."""
    monkeypatch.setattr(transaction, "raise_for", lambda _: 1 / 0)
    update = Update()
    with pytest.raises(ZeroDivisionError):
        await update.make()
    assert "a flush failed" in caplog.text
    assert update.flushes[-1].error == "ZeroDivisionError"


async def test_only_who_waits_is_failed() -> None:
    """A caller that went away, or has its result, is left alone."""
    loop = asyncio.get_running_loop()
    done = [loop.create_future() for _ in range(2)]
    operations = [Operation(user="u", deadline=0.0, done=one, reads=(), step=add) for one in done]
    done[0].set_result(1)
    fail(operations, ConnectionError("x"))
    assert done[0].result() == 1
    assert isinstance(done[1].exception(), ConnectionError)
