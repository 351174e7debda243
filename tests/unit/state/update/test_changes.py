"""What a step may read and write: each kind is handled by the one primitive."""

import asyncio
from typing import get_args

import pytest

from state.update.batch import Batch, Operation
from state.update.changes import Append, Change, Fields, Hash, List, Once, Read, Remove, Watched, Write

pytestmark = pytest.mark.anyio

READS: dict[type[Read], Read] = {Hash: Hash("h", (b"n",)), List: List("l"), Watched: Watched("w")}
WRITES: dict[type[Write], Write] = {
    Fields: Fields("h", {b"n": b"1"}),
    Append: Append("l", b"e"),
    Remove: Remove("w"),
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
    assert batch.reads("f") == [("WATCH", "f", "h", "w"), ("HMGET", "h", b"n"), ("LLEN", "l")]
    assert batch.apply([b"OK", [None], 0]) == [
        ("DEL", "w"),
        ("HSET", "h", b"n", b"1"),
        ("RPUSH", "l", b"e"),
        ("LTRIM", "l", -3, -1),
    ]


def test_they_are_values() -> None:
    """Steps may share them: they cannot be changed, and equal ones are equal."""
    for one in (*READS.values(), *WRITES.values(), Change(1), Once("k", b"r", seen=1)):
        with pytest.raises(AttributeError):
            one.key = "other"  # type: ignore[union-attr,misc]  # that is what is refused
    assert Hash("h", (b"n",)) == READS[Hash]
    assert Change(1).writes == ()
