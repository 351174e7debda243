"""The health of a loop's rewards for people."""

from app.report.marks import Bars
from app.report.page import Figure, Grid, Notes
from app.report.pipeline import arrivals
from app.report.plots import Lines
from tests.unit.app.experiments.scene import healthy, joined


def test_all_there_is() -> None:
    """A table of the day, of who served it, and of the week before; the hours; and the delays."""
    table, hours, delays = arrivals(healthy(by_policy={"serves": joined(10, 4, late=2), "none": joined(0, 0)}))
    assert isinstance(table, Grid)
    assert list(table.rows) == [
        ["last day", "1,000", "50.0%", "0.0%", "0.0%", "50.0%", "0.500 ± 0.000"],
        ["serves", "10", "40.0%", "20.0%", "0.0%", "60.0%", "0.500 ± 0.000"],
        ["none", "0", "–", "–", "–", "–", "–"],  # noqa: RUF001  # dashes
        ["week before", "7,000", "50.0%", "0.0%", "0.0%", "50.0%", "0.500 ± 0.000"],
    ]
    assert table.faint == {3}
    assert isinstance(hours, Figure)
    assert isinstance(hours.plot, Lines)
    assert hours.plot.lines[0].mean.tolist() == [0.5] * 72
    assert isinstance(delays, Figure)
    assert isinstance(delays.plot, Bars)
    assert list(delays.plot.bins) == ["3 s", "more"]
    assert delays.plot.shares == [("last day", [0.8, 0.2])]


def test_problems_come_first() -> None:
    """In sentences; what has no numbers is not drawn."""
    notes, table = arrivals(healthy(problems=["rewards are lost"], hours=[], delays=[0, 0, 0]))
    assert isinstance(notes, Notes)
    assert list(notes.items) == [("problem", "rewards are lost.")]
    assert isinstance(table, Grid)


def test_nothing() -> None:
    """Of a log that has no closed window of the last days."""
    assert list(arrivals(healthy(day=joined(0, 0), before=joined(0, 0)))) == []
