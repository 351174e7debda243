"""What a batch reads: each thing once, however many steps want it."""

from state.redis.exchange import Command
from state.update.changes import Agenda, Entry, Hash, Read, Register, Score, Watched
from state.update.reading import Reading


def test_each_thing_is_read_once() -> None:
    """In the order in which it was wanted first; of a sorted set as many members as who wants most of them."""
    reading = Reading()
    wanted: list[Read] = [Hash("h", (b"n",)), Agenda("t", 2), Entry("d", b"1"), Score("due", b"u"), Register("due")]
    for read in (*wanted, Watched("w"), *wanted, Agenda("t", 32), Agenda("t", 5), Register("due")):
        read.enter(reading)
    commands: dict[str, Command] = {
        "h": ("HMGET", "h", b"n"),
        "t": ("ZRANGE", "t", 0, 31, "WITHSCORES"),
        "d 1": ("HGET", "d", b"1"),
        "due u": ("ZSCORE", "due", b"u"),
        "due": ("ZSCORE", "due", b""),
    }
    assert list(reading.commands.items()) == list(commands.items())
    assert list(reading.watched) == ["h", "w"]
    assert (reading.agendas, reading.scores, reading.parts) == ({"t": 32}, {"due u"}, {"d", "due"})
    assert [read.place for read in wanted] == list(commands)
