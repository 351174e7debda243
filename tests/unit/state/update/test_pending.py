"""The writes of a batch, gathered by key."""

import pytest

from state.redis.exchange import Command
from state.update.changes import Append, Drop, Emit, Fields, Remove, Schedule, Write
from state.update.pending import Pending

FIELDS = Fields("h", {b"a": b"1", b"b": b"2"})
ENTRY = Append("l", b"1")


@pytest.mark.parametrize(
    ("writes", "commands"),
    [
        ([], []),
        ([FIELDS, Fields("h", {b"a": b"3"})], [("HSET", "h", b"a", b"3", b"b", b"2")]),
        ([FIELDS, Drop("h", (b"a",))], [("HSET", "h", b"b", b"2"), ("HDEL", "h", b"a")]),
        ([FIELDS, Drop("h", (b"a", b"b"))], [("HDEL", "h", b"a", b"b")]),
        ([Drop("h", (b"a",)), FIELDS], [("HSET", "h", b"a", b"1", b"b", b"2")]),
        ([Drop("h", (b"c",)), FIELDS], [("HSET", "h", b"a", b"1", b"b", b"2"), ("HDEL", "h", b"c")]),
        ([Append("l", b"1"), Append("l", b"2")], [("RPUSH", "l", b"1", b"2"), ("LTRIM", "l", -3, -1)]),
        ([ENTRY, ENTRY], [("RPUSH", "l", b"1", b"1"), ("LTRIM", "l", -3, -1)]),
        ([Schedule("z", {b"a": 1, b"b": None})], [("ZADD", "z", 1, b"a"), ("ZREM", "z", b"b")]),
        ([Schedule("z", {b"a": 1}), Schedule("z", {b"a": None})], [("ZREM", "z", b"a")]),
        ([Schedule("z", {b"a": None}), Schedule("z", {b"a": 2})], [("ZADD", "z", 2, b"a")]),
        ([Schedule("z", {})], []),
        ([FIELDS, Drop("h", (b"c",)), Remove("h")], [("DEL", "h")]),
        ([Schedule("z", {b"a": 1}), Append("l", b"1"), Remove("z"), Remove("l")], [("DEL", "z", "l")]),
        ([Remove("h"), Fields("h", {b"a": b"1"})], [("DEL", "h"), ("HSET", "h", b"a", b"1")]),
        (
            [Remove("h"), Emit("s", "g", b"l"), Emit("s", "", b"m")],
            [
                ("XADD", "s", "*", "g", "g", "l", b"l"),
                ("XADD", "s", "*", "g", "", "l", b"m"),
                ("DEL", "h"),
            ],
        ),
        ([Remove("z"), Schedule("z", {b"a": 1})], [("DEL", "z"), ("ZADD", "z", 1, b"a")]),
    ],
)
def test_the_last_write_counts(writes: list[Write], commands: list[Command]) -> None:
    """Of each field and member; what is removed first is written anew."""
    pending = Pending(3)
    for write in writes:
        pending.note([write])
    assert pending.commands({}) == commands


@pytest.mark.parametrize(("length", "cut"), [(0, False), (1, False), (2, True), (3, True), (9, True), ((), True)])
def test_a_list_is_cut_when_it_becomes_too_long(length: object, cut: bool) -> None:  # a parameter
    """It costs Redis a command, which a list that has room does not need; nor is one cut that was removed before."""
    pending = Pending(3)
    pending.note([Append("l", b"1"), Append("l", b"2")])
    trim: list[Command] = [("LTRIM", "l", -3, -1)] if cut else []
    assert pending.commands({"l": length}) == [("RPUSH", "l", b"1", b"2"), *trim]
