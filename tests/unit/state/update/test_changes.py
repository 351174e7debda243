"""What a step may read and write: each kind is handled by the one primitive."""

import asyncio
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.update.batch import Batch, Operation
from state.update.changes import (
    AGENDA,
    Agenda,
    Append,
    Change,
    Drop,
    Entry,
    Fields,
    Hash,
    List,
    Moment,
    Once,
    Read,
    Remove,
    Schedule,
    Watched,
    Write,
    members,
    moved,
)

READS: dict[type[Read], Read] = {
    Hash: Hash("h", (b"n",)),
    List: List("l"),
    Watched: Watched("w"),
    Entry: Entry("d", b"one"),
    Agenda: Agenda("z"),
    Moment: Moment(),
}
WRITES: dict[type[Write], Write] = {
    Fields: Fields("h", {b"n": b"1"}),
    Append: Append("l", b"e"),
    Remove: Remove("w"),
    Drop: Drop("d", (b"one",)),
    Schedule: Schedule("z", {b"one": 5}),
}
MEMBERS = st.binary(min_size=1, max_size=2)
SCORES = st.integers(0, 40)


@pytest.mark.anyio
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
    assert batch.reads("f") == [
        ("WATCH", "f", "h", "w"),
        ("HMGET", "h", b"n"),
        ("LLEN", "l"),
        ("HGET", "d", b"one"),
        ("ZRANGE", "z", 0, AGENDA - 1, "WITHSCORES"),
        ("TIME",),
    ]
    assert batch.apply([b"OK", [None], 0, b"1", [], [b"1", b"2"]]) == [
        ("DEL", "w"),
        ("HSET", "h", b"n", b"1"),
        ("HDEL", "d", b"one"),
        ("RPUSH", "l", b"e"),
        ("LTRIM", "l", -3, -1),
        ("ZADD", "z", 5, b"one"),
    ]


@given(st.lists(st.tuples(MEMBERS, SCORES)))
def test_members(pairs: list[tuple[bytes, int]]) -> None:
    """The same from either protocol's reply."""
    wanted = [(member, float(score)) for member, score in pairs]
    assert members([word for member, score in pairs for word in (member, b"%d" % score)]) == wanted
    assert members([[member, float(score)] for member, score in pairs]) == wanted


@given(
    st.dictionaries(MEMBERS, SCORES, max_size=2 * AGENDA),
    st.lists(st.dictionaries(MEMBERS, SCORES | st.none(), max_size=5), max_size=4),
)
def test_moved(stored: dict[bytes, int], changes: list[dict[bytes, int | None]]) -> None:
    """What is known of a sorted set after changes is its beginning, as the whole set sorted would have it."""

    def first(known: dict[bytes, int]) -> list[tuple[bytes, float]]:
        return sorted(((member, float(score)) for member, score in known.items()), key=lambda pair: pair[::-1])[:AGENDA]

    whole, read = dict(stored), first(stored)
    for change in changes:
        read = moved(read, change)
        whole = {member: score for member, score in {**whole, **change}.items() if score is not None}
        assert read == first(whole)[: len(read)]
    if len(stored) < AGENDA:
        assert read == first(whole)


def test_they_are_values() -> None:
    """Steps may share them: they cannot be changed, and equal ones are equal."""
    for one in (*READS.values(), *WRITES.values(), Change(1), Once("k", b"r", seen=1)):
        with pytest.raises(AttributeError):
            one.key = "other"  # type: ignore[union-attr,misc]  # that is what is refused
    assert Hash("h", (b"n",)) == READS[Hash]
    assert Change(1).writes == ()
