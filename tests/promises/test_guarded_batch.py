"""What one transaction watches and writes, for one change of each kind: keys, bounds and lives, without a server."""

import asyncio

import pytest

from state import keys
from state.errors import KeyReused
from state.redis.exchange import Command
from state.update.batch import Batch
from state.update.changes import Append, Change, Fields, Hash, List, Once, Remove, Values, Watched
from state.update.operation import Operation
from tests.unit.state.wire import unpacked

pytestmark = pytest.mark.anyio

MODEL, HISTORY, FLIGHT = "oo:{u}:m", "oo:{u}:history", "oo:flight:x"
MARKER = keys.marker("u", "m", "k")


def add_one(values: Values) -> Change[int]:
    number = int(values[MODEL][0] or 0) + 1
    return Change(number, (Fields(MODEL, {b"n": b"%d" % number}), Append(HISTORY, b"e%d" % number)))


def change(request: bytes = b"asked") -> Operation:
    return Operation(
        user="u",
        deadline=1.0,
        done=asyncio.get_running_loop().create_future(),
        reads=(Hash(MODEL, (b"n",)), List(HISTORY)),
        step=add_one,
        once=Once(MARKER, request, seen=-1),
    )


def removal() -> Operation:
    gone = Change(None, (Remove(MODEL), Remove(HISTORY)))
    return Operation(
        user="u",
        deadline=1.0,
        done=asyncio.get_running_loop().create_future(),
        reads=(Watched(MODEL), Watched(HISTORY)),
        step=lambda _: gone,
    )


def batch(*operations: Operation) -> Batch:
    return Batch(operations, history_size=7, marker_seconds=60, now=1_000)


def named(commands: list[Command], name: str) -> list[Command]:
    return [command for command in commands if command[0] == name]


async def test_everything_a_change_depends_on_is_watched() -> None:
    """The operation id, the hash, the marker, and what is to be removed: a change of any of them by another ends this
    transaction."""
    watch, *_ = unpacked(batch(change()).reads(FLIGHT))
    assert {"WATCH", FLIGHT, MODEL, MARKER} <= {*watch.split()}
    watch, *_ = unpacked(batch(removal()).reads(FLIGHT))
    assert {"WATCH", FLIGHT, MODEL, HISTORY} <= {*watch.split()}


async def test_what_a_change_writes() -> None:
    """Fields, an entry of a history that is cut where it is full, and the marker with its life; nothing else."""
    assert not named(batch(change()).apply([b"OK", [None], 6, None, None]), "LTRIM")
    writes = batch(change()).apply([b"OK", [None], 7, None, None])
    assert named(writes, "HSET") == [("HSET", MODEL, b"n", b"1")]
    assert named(writes, "RPUSH") == [("RPUSH", HISTORY, b"e1")]
    assert named(writes, "LTRIM") == [("LTRIM", HISTORY, -7, -1)]
    [marker] = named(writes, "SET")
    assert marker[:3] == ("SET", MARKER, b"asked")
    assert marker[marker.index("EX") + 1] == 60
    assert not named(writes, "DEL")


async def test_a_marker_counts_within_its_batch() -> None:
    """The second of two equal requests in one transaction is a replay, and one that says something else is refused."""
    operations = [change(), change(), change(b"other")]
    made = batch(*operations)
    writes = made.apply([b"OK", [None], 0, None, None])
    made.settle()
    assert [operation.done.result() for operation in operations[:2]] == [1, -1]
    with pytest.raises(KeyReused):
        operations[2].done.result()
    assert named(writes, "HSET") == [("HSET", MODEL, b"n", b"1")]
    assert named(writes, "RPUSH") == [("RPUSH", HISTORY, b"e1")]


async def test_a_known_marker_writes_nothing() -> None:
    """A replay leaves all as it is, and its marker no longer than before."""
    operation = change()
    made = batch(operation)
    assert made.apply([b"OK", [b"4"], 2, b"asked", b"9999"]) == []
    made.settle()
    assert operation.done.result() == -1


async def test_a_removal_takes_what_came_before_it() -> None:
    """Of a change and then a removal in one transaction neither the entry nor the fields are written."""
    writes = batch(change(), removal()).apply([b"OK", [b"4"], 2, None, None])
    [removed] = named(writes, "DEL")
    assert set(removed[1:]) == {MODEL, HISTORY}
    assert not named(writes, "HSET")
    assert not named(writes, "RPUSH")


async def test_a_change_after_a_removal_starts_from_nothing() -> None:
    """It counts from 1, and is written after the removal."""
    later = change()
    made = batch(removal(), later)
    writes = made.apply([b"OK", [b"4"], 2, None, None])
    made.settle()
    assert later.done.result() == 1
    assert writes[0][0] == "DEL"
    assert named(writes, "HSET") == [("HSET", MODEL, b"n", b"1")]
