"""What a step may read and write: each kind is handled by the one primitive."""

import asyncio
import math
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.update.batch import Batch
from state.update.changes import (
    AGENDA,
    FEW,
    NOTHING,
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
    Next,
    Once,
    Read,
    Remove,
    Schedule,
    Score,
    Values,
    Watched,
    Write,
    first_members,
    moved,
)
from state.update.operation import Emitted, Operation

pytestmark = pytest.mark.anyio

READS: dict[type[Read], Read] = {
    Hash: Hash("h", (b"n",)),
    List: List("l"),
    Watched: Watched("w"),
    Entry: Entry("d", b"one"),
    Agenda: Agenda("t"),
    Score: Score("due", b"u"),
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
    assert batch.reads("f") == [
        ("WATCH", "f", "h", "w"),
        ("HMGET", "h", b"n"),
        ("LLEN", "l"),
        ("HGET", "d", b"one"),
        ("ZRANGE", "t", 0, 1, "WITHSCORES"),
        ("ZSCORE", "due", b"u"),
        ("TIME",),
        ("XLEN", "s"),
    ]
    assert batch.apply([b"OK", [None], 0, b"x", [b"one", b"5"], b"5", [b"1", b"2"], 0]) == [
        ("XADD", "s", "*", "g", "tips", "l", b"{}"),
        ("DEL", "w"),
        ("HSET", "h", b"n", b"1"),
        ("HDEL", "d", b"one"),
        ("RPUSH", "l", b"e"),
        ("LTRIM", "l", -3, -1),
        ("ZADD", "t", 7, b"two"),
        ("ZREM", "t", b"one"),
    ]
    assert batch.emitted([b"5-1", 1, 1]) == [Emitted("s", b"5-1", "tips", b"{}")]


@pytest.mark.parametrize("nested", [False, True])
def test_first_members(nested: bool) -> None:
    """Fewer than were asked for are all; otherwise nothing is known beyond the last."""
    few = first_members([[b"a", b"1"], [b"b", b"2"]] if nested else [b"a", b"1", b"b", b"2"], AGENDA)
    assert few == Next([(b"a", 1.0), (b"b", 2.0)], math.inf)
    many = first_members([word for number in range(AGENDA) for word in (b"%d" % number, b"%d" % number)], AGENDA)
    assert (len(many.members), many.end, many.first) == (AGENDA, AGENDA - 1, 0.0)
    assert (NOTHING.first, few.first) == (None, 1.0)


@given(
    asked=st.sampled_from([FEW, AGENDA]),
    there=st.dictionaries(st.integers(0, 80), st.integers(0, 60), max_size=80),
    changes=st.lists(st.dictionaries(st.integers(0, 90), st.none() | st.integers(0, 70), max_size=40), max_size=4),
)
def test_what_is_known_after_changes(asked: int, there: dict[int, int], changes: list[dict[int, int | None]]) -> None:
    """However often members are moved: what is known is there, up to the end nothing else is, and the first score is
    never above the true one, nor missing where there is a member."""
    truth = {b"%d" % member: score for member, score in there.items()}
    inside = sorted(truth.items(), key=lambda pair: (pair[1], pair[0]))
    known = first_members([word for member, score in inside[:asked] for word in (member, b"%d" % score)], asked)
    for change in changes:
        scores = {b"%d" % member: score for member, score in change.items()}
        known = moved(known, scores)
        truth = {member: score for member, score in (truth | scores).items() if score is not None}
        assert all(truth[member] == score for member, score in known.members)
        assert list(known.members) == sorted(known.members, key=lambda pair: (pair[1], pair[0]))
        assert {member for member, score in truth.items() if score < known.end} <= {name for name, _ in known.members}
        if truth:
            assert known.first is not None
            assert known.first <= min(truth.values())
        if known.members:
            assert known.first == min(truth.values())


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
