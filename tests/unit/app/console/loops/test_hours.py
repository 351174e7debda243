"""What a loop did by hour."""

import math
from itertools import pairwise

import msgspec
import pytest

from app.console.loops.hours import day, hours, interval, joined, plots
from app.messages.pipeline import Joined
from tests.unit.app.console.scene import busy, told


def test_an_interval() -> None:
    """Of rewards 0, 1, 1 and 2: mean 1, deviation 1/sqrt 2, so 1.96 / sqrt 8 to either side."""
    found = interval(counted(4, 4.0, 6.0))
    assert found.mean == 1.0
    assert found.low == pytest.approx(1 - 1.96 / math.sqrt(8))
    assert found.high == pytest.approx(1 + 1.96 / math.sqrt(8))


@pytest.mark.parametrize(("n", "mean"), [(0, None), (1, 0.5)])
def test_too_few_for_an_interval(n: int, mean: float | None) -> None:
    """One has a mean, none has not."""
    assert interval(counted(n, 0.5 * n, 0.25 * n)) == (mean, None, None)


def test_rounding_makes_no_error_negative() -> None:
    """Where all rewards are the same, squares may fall short of the mean's."""
    found = interval(counted(3, 0.3, 0.03 - 1e-12))
    assert found.low == found.high == pytest.approx(0.1)


def test_hours() -> None:
    """In order; shares of nothing are unknown, and so is what has not matured."""
    health = busy()
    quiet = msgspec.structs.replace(health.hours[0], decisions=0, explored=0, answered=0, served={})
    found = hours(msgspec.structs.replace(health, hours=[quiet, *health.hours[1:]]))
    assert [b.at - a.at for a, b in pairwise(found)] == [3_600] * 71
    assert (found[0].explored, found[0].answered) == (None, None)
    assert (found[1].joined is None, found[-1].joined, found[-1].reward) == (False, None, (None, None, None))


def test_day() -> None:
    """Decisions are those of the last 24 hours; rewards those whose window closed in them."""
    health = busy()
    found = day(health)
    assert found.decisions == sum(each.decisions for each in health.hours[48:])
    assert found.explored == sum(each.explored for each in health.hours[48:]) / found.decisions
    assert (found.matured, found.joined) == (2_880, 0.9)
    assert joined(told(0)) is None


def test_plots() -> None:
    """Every policy that served has a hue, the champion the first; hints are there when they are asked for."""
    bare, told_ = plots(busy(), hints=False), plots(busy(), hints=True)
    assert "egreedy-v1</span>" in bare.served
    assert bare.served.index("egreedy-v1") < bare.served.index("tips-v3")
    assert ("<title>" in bare.reward, told_.reward.count("<title>")) == (False, 72)
    assert "found their reward" in told_.decisions


def counted(n: int, total: float, squares: float) -> Joined:
    return msgspec.structs.replace(told(0), counted=n, total=total, squares=squares)
