"""A batch: from the values read to the commands that write, without any Redis."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from redis.exceptions import ResponseError

from state import keys
from state.batch import Batch, Change, Once, Operation, Step, Values
from state.errors import CorruptState, KeyReused

pytestmark = pytest.mark.anyio

M = keys.marker("u", "p", "m")
INDEX = keys.index("u")
# At 1,000, with markers that live for 60 s: those that expired before 940 go, and the set stays for 60 s longer.
NEW_INDEX = [
    ("ZREMRANGEBYSCORE", INDEX, "-inf", 940),
    ("ZADD", INDEX, 1_060, "p:once:m", 1_120, b""),
    ("EXPIRE", INDEX, 120),
]
WRONG = ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value")


def put(result: object, entry: bytes | None = None, *, replace: bool = False, **fields: bytes) -> Step[Any]:
    named = {name.encode(): value for name, value in fields.items()}
    return lambda _: Change(result, named, entry, replace)


def operation(step: Step[Any] | None = None, **options: Any) -> Operation:
    future = asyncio.get_running_loop().create_future()
    if step is None:
        return Operation("u", 0.0, future, **options)
    return Operation("u", 0.0, future, **{"key": "h", "fields": (b"n", b"m"), "step": step, **options})


def batch(*operations: Operation) -> Batch:
    return Batch(operations, history_size=3, marker_seconds=60, now=1_000)


async def outcome(one: Operation) -> object:
    try:
        return await asyncio.wait_for(one.done, 1)
    except Exception as error:  # noqa: BLE001  # that is what is looked at
        return type(error)


async def test_reads() -> None:
    """All keys are watched, hashes and markers read, lists asked for their type; what is wiped is watched."""
    once = Once(M, b"r", seen=None)
    found = batch(
        operation(put(1), history="l"),
        operation(put(1), history="l", once=once),
        operation(put(1), key="i", fields=(b"x",), once=once),
        operation(wiped=("h", "z")),
    ).reads("flight")
    assert found == [
        ("WATCH", "flight", "h", "i", M, "h", "z"),
        ("HMGET", "h", b"n", b"m"),
        ("HMGET", "i", b"x"),
        ("LLEN", "l"),
        ("GET", M),
        ("ZSCORE", INDEX, b""),
    ]


async def test_writes() -> None:
    """The last value of each field, entries in order and trimmed, markers with their time to live."""
    once = Once(M, b"r", seen=None)
    operations = [
        operation(put(1, b"e1", n=b"1", m=b"1"), history="l"),
        operation(put(2, b"e2", n=b"2"), history="l", once=once),
    ]
    found = batch(*operations)
    assert found.apply([b"OK", [None, None], 0, None, None]) == [
        ("HSET", "h", b"n", b"2", b"m", b"1"),
        ("RPUSH", "l", b"e1", b"e2"),
        ("LTRIM", "l", -3, -1),
        ("SET", M, b"r", "EX", 60),
        *NEW_INDEX,
    ]
    found.settle()
    assert [await outcome(one) for one in operations] == [1, 2]


@pytest.mark.parametrize(
    ("read", "writes"),
    [
        (b"1120", [("ZADD", INDEX, 1_060, "p:once:m")]),
        (b"1090", [("ZADD", INDEX, 1_060, "p:once:m")]),
        (b"1089", NEW_INDEX),
        (b"9999", [("ZADD", INDEX, 1_060, "p:once:m")]),  # markers lived longer before: so does the set
    ],
)
async def test_an_index_is_kept_alive_now_and_then(read: bytes, writes: list[object]) -> None:
    """A marker costs its index one command, and two more only when the index would soon expire."""
    found = batch(operation(put(1, n=b"1"), once=Once(M, b"r", seen=0)))
    assert found.apply([b"OK", [None, None], None, read])[2:] == writes


async def test_an_index_of_the_wrong_type() -> None:
    """An index that is not a sorted set fails what carries an idempotency key, before anything is written."""
    operations = [operation(put(1, n=b"1"), once=Once(M, b"r", seen=0)), operation(put(2, n=b"2"))]
    found = batch(*operations)
    assert found.apply([b"OK", [None, None], None, WRONG]) == [("HSET", "h", b"n", b"2")]
    found.settle()
    assert [await outcome(one) for one in operations] == [CorruptState, 2]


async def test_each_step_sees_what_the_one_before_left() -> None:
    """Fields set, kept, wiped and replaced, as the next step reads them."""
    seen: list[list[bytes | None]] = []

    def look(values: Values) -> Change[None]:
        seen.append(list(values))
        return Change(None, {})

    steps: list[Callable[[], Operation]] = [
        lambda: operation(look),
        lambda: operation(put(None, n=b"1")),
        lambda: operation(look),
        lambda: operation(put(None, replace=True, m=b"2")),
        lambda: operation(look),
        lambda: operation(wiped=("h",)),
        lambda: operation(look),
        lambda: operation(put(None, n=b"3")),
        lambda: operation(look),
    ]
    writes = batch(*(make() for make in steps)).apply([b"OK", [b"0", b"0"]])
    assert seen == [[b"0", b"0"], [b"1", b"0"], [None, b"2"], [None, None], [b"3", None]]
    assert writes == [("DEL", "h"), ("HSET", "h", b"n", b"3")]


async def test_a_wipe_drops_what_waits_to_be_written() -> None:
    """Entries and fields before the wipe are not written, those after it are; markers stay."""
    operations = [
        operation(put(1, b"e1", n=b"1"), history="l", once=Once(M, b"r", seen=0)),
        operation(wiped=("h", "l")),
        operation(put(2, b"e2", m=b"2"), history="l", once=Once(M, b"r", seen=0)),
        operation(put(3, b"e3", m=b"3"), history="l"),
    ]
    found = batch(*operations)
    assert found.apply([b"OK", [None, None], 0, None, None]) == [
        ("DEL", "h", "l"),
        ("HSET", "h", b"m", b"3"),
        ("RPUSH", "l", b"e3"),
        ("LTRIM", "l", -3, -1),
        ("SET", M, b"r", "EX", 60),
        *NEW_INDEX,
    ]
    found.settle()
    assert [await outcome(one) for one in operations] == [1, None, 0, 3]


async def test_failures_are_their_own() -> None:
    """A step that raises, a key of the wrong type and a key reused fail alone, and leave no trace."""

    def fail(values: Values) -> Change[None]:
        raise ArithmeticError

    operations = [
        operation(fail, once=Once(M, b"r", seen=0)),
        operation(put(1, b"e", n=b"1"), history="l"),
        operation(put(2, n=b"2"), once=Once("w", b"r", seen=0)),
        operation(put(3), key="x", fields=(b"n",)),
        operation(put(4, n=b"4"), once=Once("k", b"r", seen=0)),
        operation(put(5, n=b"5"), once=Once("k", b"old", seen=0)),
        operation(put(6, n=b"6")),
    ]
    found = batch(*operations)
    replies = [b"OK", [None, None], WRONG, WRONG, None, WRONG, b"old", None]
    assert found.apply(replies) == [("HSET", "h", b"n", b"6")]
    found.settle()
    assert [await outcome(one) for one in operations] == [
        ArithmeticError,
        CorruptState,
        CorruptState,
        CorruptState,
        KeyReused,
        0,
        6,
    ]


async def test_settle_passes_over_who_left() -> None:
    """A caller who no longer waits is not told, the others are."""
    operations = [operation(put(1)), operation(put(2))]
    found = batch(*operations)
    assert found.apply([b"OK", [None, None]]) == []
    operations[0].done.cancel()
    found.settle()
    assert operations[0].done.cancelled()
    waiting: Awaitable[object] = operations[1].done
    assert await waiting == 2


async def test_an_entry_without_a_history_goes_nowhere() -> None:
    """A step of an update that does not append may give an entry all the same."""
    assert batch(operation(put(1, b"e", n=b"1"))).apply([b"OK", [None, None]]) == [("HSET", "h", b"n", b"1")]
