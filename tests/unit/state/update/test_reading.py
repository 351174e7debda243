"""What a batch reads: each thing once, however many steps want it."""

from state.update.changes import Agenda, Entry, Hash, Read, Register, Score, Watched
from state.update.reading import Reading
from tests.unit.state.wire import unpacked


def test_each_thing_is_read_once() -> None:
    """Hashes first, all else in the order in which it was wanted; of a sorted set as many members as anyone wants."""
    reading = Reading()
    wanted: list[Read] = [Hash("h", (b"n",)), Agenda("t", 2), Entry("d", b"1"), Score("due", b"u"), Register("due")]
    for read in (*wanted, Watched("w"), *wanted, Agenda("t", 32), Agenda("t", 5), Register("due")):
        read.enter(reading)
    assert unpacked(reading.commands("f")) == [
        "WATCH f h w",
        "HMGET h n",
        "ZRANGE t 0 31 WITHSCORES",
        "HGET d 1",
        "ZSCORE due u",
        "ZSCORE due ",
    ]
    assert (reading.agendas, reading.scores, reading.parts) == ({"t": 32}, {"due u"}, {"d", "due"})
    places = [read.place for read in wanted]
    assert reading.values([b"OK", *range(5)]) == dict(zip(places, range(5), strict=True))
