"""What a step may read and write: each kind is handled by the one primitive."""

import asyncio
from typing import get_args

import pytest

from state.update.batch import Batch
from state.update.changes import (
    Agenda,
    Append,
    Backlog,
    Change,
    Drop,
    Emit,
    Entry,
    Fields,
    Hash,
    List,
    Moment,
    Once,
    Read,
    Register,
    Remove,
    Schedule,
    Score,
    Values,
    Watched,
    Write,
)
from state.update.operation import Emitted, Operation
from tests.unit.state.wire import unpacked

pytestmark = pytest.mark.anyio

READS: dict[type[Read], Read] = {
    Hash: Hash("h", (b"n",)),
    List: List("l"),
    Watched: Watched("w"),
    Entry: Entry("d", b"one"),
    Agenda: Agenda("t"),
    Score: Score("due", b"u"),
    Register: Register("all"),
    Moment: Moment(),
    Backlog: Backlog("s"),
}
WRITES: dict[type[Write], Write] = {
    Fields: Fields("h", {b"n": b"1"}),
    Append: Append("l", b"e"),
    Remove: Remove("w"),
    Drop: Drop("d", (b"one",)),
    Schedule: Schedule("t", {b"one": None, b"two": 7}),
    Emit: Emit("s", "tips", b"{}"),
}


async def test_every_kind_is_read_and_written() -> None:
    """A batch watches or reads each kind of read, and makes each kind of write."""
    assert READS.keys() == set(get_args(Read))
    assert WRITES.keys() == set(get_args(Write))
    operation = Operation(
        user="u",
        deadline=1.0,
        done=asyncio.get_running_loop().create_future(),
        reads=tuple(READS.values()),
        step=lambda _: Change("done", tuple(WRITES.values())),
    )
    batch = Batch([operation], history_size=3, marker_seconds=60, now=0)
    assert unpacked(batch.reads("f")) == [
        "WATCH f h w",
        "HMGET h n",
        "LLEN l",
        "HGET d one",
        "ZRANGE t 0 1 WITHSCORES",
        "ZSCORE due u",
        "ZSCORE all ",
        "TIME",
        "XLEN s",
    ]
    assert batch.apply([b"OK", [None], 0, b"x", [b"one", b"5"], b"5", None, [b"1", b"2"], 0]) == [
        ("XADD", "s", "*", "g", "tips", "l", b"{}"),
        ("DEL", "w"),
        ("HSET", "h", b"n", b"1"),
        ("RPUSH", "l", b"e"),
        ("HDEL", "d", b"one"),
        ("ZADD", "t", 7, b"two"),
        ("ZREM", "t", b"one"),
    ]
    assert batch.emitted([b"5-1", 1, 1]) == [Emitted("s", b"5-1", "tips", b"{}")]


async def test_later_steps_see_scores() -> None:
    """A score that one step changes is what the next one reads; a number, however Redis gives it."""
    seen: list[object] = []

    def operation(user: bytes, score: int | None) -> Operation:
        def step(values: Values) -> Change[None]:
            seen.append(values[f"due {user.decode()}"])
            return Change(None, (Schedule("due", {user: score}),))

        done = asyncio.get_running_loop().create_future()
        return Operation(user="u", deadline=1.0, done=done, reads=(Score("due", user),), step=step)

    batch = Batch(
        [operation(b"u", 7), operation(b"v", 8), operation(b"u", None), operation(b"u", 9)],
        history_size=3,
        marker_seconds=60,
        now=0,
    )
    assert len(batch.reads("f")) == 3
    assert batch.apply([b"OK", b"5", None]) == [("ZADD", "due", 9, b"u", 8, b"v")]
    assert seen == [5.0, None, 7, None]


def test_they_are_values() -> None:
    """Steps may share them: they cannot be changed, and equal ones are equal."""
    for one in (*READS.values(), *WRITES.values(), Change(1), Once("k", b"r", seen=1)):
        with pytest.raises(AttributeError):
            one.key = "other"  # type: ignore[union-attr,misc]  # that is what is refused
    assert Hash("h", (b"n",)) == READS[Hash]
    assert Change(1).writes == ()
