"""A batch: from the values read to the commands that write, without any Redis."""

import asyncio
from collections.abc import Awaitable, Callable
from math import inf
from typing import Any

import pytest
from redis.exceptions import ResponseError

from state import keys
from state.errors import CorruptState, KeyReused
from state.update.agenda import NOTHING, Next
from state.update.batch import Batch
from state.update.changes import (
    MOMENT,
    Agenda,
    Append,
    Asking,
    Change,
    Drop,
    Entry,
    Fields,
    Hash,
    List,
    Moment,
    More,
    Once,
    Read,
    Remove,
    Schedule,
    Step,
    Values,
    Watched,
    Work,
    Write,
    entry,
)
from state.update.operation import Operation
from tests.unit.state.wire import unpacked

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


def put(result: object, entry: bytes | None = None, **fields: bytes) -> Step[Any]:
    """A step that sets fields of `h`, and appends to `l`."""
    writes: list[Write] = []
    if fields:
        writes.append(Fields("h", {name.encode(): value for name, value in fields.items()}))
    if entry is not None:
        writes.append(Append("l", entry))
    return lambda _: Change(result, tuple(writes))


def remove(*names: str, **fields: bytes) -> Step[Any]:
    """A step that removes keys, and sets fields of `h` anew."""
    removals: tuple[Write, ...] = tuple(Remove(name) for name in names)
    if fields:
        removals += (Fields("h", {name.encode(): value for name, value in fields.items()}),)
    return lambda _: Change(None, removals)


H = Hash("h", (b"n", b"m"))
L = List("l")


def operation(step: Step[Any], *reads: Read, once: Once[Any] | None = None, user: str = "u") -> Operation:
    future = asyncio.get_running_loop().create_future()
    return Operation(user=user, deadline=0.0, done=future, reads=reads or (H,), step=step, once=once)


def batch(*operations: Operation) -> Batch:
    return Batch(operations, history_size=3, marker_seconds=60, now=1_000)


async def outcome(one: Operation) -> object:
    try:
        return await asyncio.wait_for(one.done, 1)
    except Exception as error:  # noqa: BLE001  # that is what is looked at
        return type(error)


async def test_reads() -> None:
    """All keys are watched, hashes and markers read, lists asked for their length; what is wiped is watched."""
    once = Once(M, b"r", seen=None)
    found = batch(
        operation(put(1), H, L),
        operation(put(1), H, L, once=once),
        operation(put(1), Hash("i", (b"x",)), once=once),
        operation(remove("h", "z"), Watched("h"), Watched("z")),
    ).reads("flight")
    assert unpacked(found) == [
        f"WATCH flight h i h z {M}",
        "HMGET h n m",
        "HMGET i x",
        "LLEN l",
        f"GET {M}",
        f"ZSCORE {INDEX} ",
    ]


async def test_writes() -> None:
    """The last value of each field, entries in order and trimmed, markers with their time to live."""
    once = Once(M, b"r", seen=None)
    operations = [
        operation(put(1, b"e1", n=b"1", m=b"1"), H, L),
        operation(put(2, b"e2", n=b"2"), H, L, once=once),
    ]
    found = batch(*operations)
    assert found.apply([b"OK", [None, None], 2, None, None]) == [
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
        seen.append(list(values["h"]))
        return Change(None)

    steps: list[Callable[[], Operation]] = [
        lambda: operation(look),
        lambda: operation(put(None, n=b"1")),
        lambda: operation(look),
        lambda: operation(remove("h", m=b"2")),
        lambda: operation(look),
        lambda: operation(remove("h"), Watched("h")),
        lambda: operation(look),
        lambda: operation(put(None, n=b"3")),
        lambda: operation(look),
    ]
    writes = batch(*(make() for make in steps)).apply([b"OK", [b"0", b"0"]])
    assert seen == [[b"0", b"0"], [b"1", b"0"], [None, b"2"], [None, None], [b"3", None]]
    assert writes == [("DEL", "h"), ("HSET", "h", b"n", b"3")]


async def test_a_step_of_either_kind() -> None:
    """One that wants nothing computed may be a plain function."""

    def asks(values: Values) -> Asking[Change[int]]:
        [twice] = yield [Work(lambda numbers: [2 * number for number in numbers], len(values["h"]))]
        return Change(twice, (Fields("h", {b"n": b"%d" % twice}),))

    operations = [operation(asks), operation(lambda values: Change(values["h"]), user="v")]
    found = batch(*operations)
    assert found.apply([b"OK", [b"0", b"0"]]) == [("HSET", "h", b"n", b"4")]
    found.settle()
    assert [await outcome(one) for one in operations] == [4, [b"0", b"0"]]


async def test_a_hash_is_read_with_the_same_fields_by_all() -> None:
    """Two steps that read different fields of one hash are a defect, told before anything is read."""
    with pytest.raises(ValueError, match="different fields"):
        batch(operation(put(1)), operation(put(1), Hash("h", (b"n",))))


async def test_a_step_writes_only_what_it_read() -> None:
    """A write to a key that was not read, and so not watched, fails its step as a whole."""
    writes = (Fields("h", {b"n": b"1"}), Remove("other"))
    operations = [operation(lambda _: Change(1, writes)), operation(put(2, m=b"2"))]
    found = batch(*operations)
    assert found.apply([b"OK", [None, None]]) == [("HSET", "h", b"m", b"2")]
    found.settle()
    assert [await outcome(one) for one in operations] == [LookupError, 2]


async def test_a_wipe_drops_what_waits_to_be_written() -> None:
    """Entries and fields before the wipe are not written, those after it are; markers stay."""
    operations = [
        operation(put(1, b"e1", n=b"1"), H, L, once=Once(M, b"r", seen=0)),
        operation(remove("h", "l"), Watched("h"), Watched("l")),
        operation(put(2, b"e2", m=b"2"), H, L, once=Once(M, b"r", seen=0)),
        operation(put(3, b"e3", m=b"3"), H, L),
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
        operation(put(1, b"e", n=b"1"), H, L),
        operation(put(2, n=b"2"), once=Once("w", b"r", seen=0)),
        operation(put(3), Hash("x", (b"n",))),
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


async def test_a_key_of_the_wrong_type_that_another_step_reads() -> None:
    """A step that looks at what only another step of its user reads fails like that one, if the type is wrong."""

    def look(values: Values) -> Change[object]:
        return Change(values[place] if (place := entry("d", b"one")) in values else None)

    operations = [operation(put(1), D), operation(look), operation(put(2, n=b"2"))]
    found = batch(*operations)
    assert found.apply([b"OK", [None, None], WRONG]) == [("HSET", "h", b"n", b"2")]
    found.settle()
    assert [await outcome(one) for one in operations] == [CorruptState, CorruptState, 2]


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


D = Entry("d", b"one")
Z = Agenda("z", 32)


async def test_two_steps_on_one_entry() -> None:
    """The second sees what the first left of the entry and of the agenda, and that another one was dropped."""
    seen: list[object] = []

    def look(values: Values) -> Change[None]:
        seen.append((values[entry("d", b"one")], values[entry("d", b"two")], values["z"], values[MOMENT]))
        return Change(None)

    reads = (D, Entry("d", b"two"), Z, Moment())
    writes = (Fields("d", {b"one": b"2"}), Drop("d", (b"two",)), Schedule("z", {b"one": 9, b"two": None}))
    found = batch(
        operation(look, *reads),
        operation(lambda _: Change(None, writes), *reads),
        operation(look, *reads),
        operation(remove("d", "z"), Watched("d"), Watched("z")),
        operation(look, *reads),
    )
    assert found.apply([b"OK", b"1", b"x", [b"one", b"3", b"two", b"5"], [b"7", b"8"]]) == [("DEL", "d", "z")]
    assert seen == [
        (b"1", b"x", Next([(b"one", 3.0), (b"two", 5.0)], inf), [b"7", b"8"]),
        (b"2", None, Next([(b"one", 9)], inf), [b"7", b"8"]),
        (None, None, NOTHING, [b"7", b"8"]),
    ]


async def test_entries_that_nobody_reads_are_written() -> None:
    """A step may add any field to a hash of which it read one."""
    found = batch(operation(lambda _: Change(1, (Fields("d", {b"new": b"1"}), Drop("d", (b"old",)))), D))
    assert found.apply([b"OK", None]) == [("HSET", "d", b"new", b"1"), ("HDEL", "d", b"old")]


async def test_more_is_read_before_anything_is_written() -> None:
    """A step that lacks something starts the batch anew, with all that was read before and more."""

    def lacking(values: Values) -> Change[object]:
        if entry("d", b"two") not in values:
            raise More((Entry("d", b"two"), H))
        return Change(values[entry("d", b"two")], (Fields("h", {b"n": b"9"}),))

    operations = [operation(put(1, n=b"1"), H), operation(lacking, D)]
    found = batch(*operations)
    assert unpacked(found.reads("f"))[1:] == ["HMGET h n m", "HGET d one"]
    found.apply([b"OK", [None, None], None])
    assert found.lacks is True
    found.restart()
    assert unpacked(found.reads("f"))[1:] == ["HMGET h n m", "HGET d one", "HGET d two"]
    assert found.apply([b"OK", [None, None], None, b"2"]) == [("HSET", "h", b"n", b"9")]
    assert (found.lacks, len(found.reads("f"))) == (False, 4)
    found.settle()
    assert [await outcome(one) for one in operations] == [1, b"2"]


async def test_decisions_of_the_wrong_type() -> None:
    """Only the steps that read them fail; once they are removed, later steps see nothing of them."""
    operations = [
        operation(put(1), D),
        operation(put(2), Z),
        operation(put(3, n=b"3"), H),
        operation(remove("d", "z"), Watched("d"), Watched("z")),
        operation(lambda values: Change((values[entry("d", b"one")], values["z"])), D, Z),
    ]
    found = batch(*operations)
    assert found.apply([b"OK", [None, None], WRONG, WRONG]) == [
        ("DEL", "d", "z"),
        ("HSET", "h", b"n", b"3"),
    ]
    found.settle()
    assert [await outcome(one) for one in operations] == [CorruptState, CorruptState, 3, None, (None, NOTHING)]


async def test_what_all_steps_of_a_user_ask_for() -> None:
    """When the first one has asked, the user's others wait; those of other users run."""
    ran: list[str] = []

    def asks(name: str) -> Step[Any]:
        def step(values: Values) -> Change[str]:
            ran.append(name)
            if "z" not in values and name != "other":
                raise More((Z,), for_all=True)
            return Change(name)

        return step

    found = batch(operation(asks("one"), H), operation(asks("two"), H), operation(asks("other"), H, user="v"))
    assert found.apply([b"OK", [b"1", b"2"]]) == []
    assert (ran, found.lacks) == (["one", "other"], True)
    found.restart()
    assert found.apply([b"OK", [b"1", b"2"], []]) == []
    assert (ran[2:], found.lacks) == (["one", "other", "two"], False)
