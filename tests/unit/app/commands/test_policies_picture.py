"""What a file means, as it is printed."""

import io
from functools import cache

import pytest
from rich.console import Console, RenderableType

from app.commands.policies_picture import duration, picture
from app.policies.catalog import catalog
from tests.unit.app.policies.samples import PUSH
from tests.unit.app.policies.test_probe import POLICY


@cache
def drawn(text: str) -> RenderableType:
    found = catalog(text)
    return picture(found.policies, found.loops, found.features, {"push": ["added: age\x1b[2J"]})


def shown(text: str, width: int = 200) -> str:
    screen = io.StringIO()
    Console(width=width, file=screen).print(drawn(text))
    return "\n".join(line.rstrip() for line in screen.getvalue().splitlines())


def test_a_policy() -> None:
    """How it learns and explores, its columns by number with what they are made of, changes, and what may be wrong."""
    text = shown(PUSH)
    assert "push  21 columns, linucb (alpha 0.2, floor 0.02), forget 0.998, prior population\n" in text
    assert "\n   1 1                     always 1\n" in text
    assert "\n  10 age*hour_sin          candidate.days 0..30 * sine of context.hour_of_day/24\n" in text
    assert "\n  → added: age\\x1b[2J\n" in text
    assert "\n  ! hour_sin, hour_cos, saturday: the same for all candidates: they take up noise" in text
    assert "\n  ! price: no policy uses it\n" in text
    assert "candidate.features #63 of 64, crossed with context.features\n" in text
    assert "\nloop          champion         shadows                         window  reward  silence" in text
    assert "\npush          push             tips-v3                         1d      -1..1   learned as 0" in text
    assert "teaches nothing, counts as 0" in text


def test_every_kind() -> None:
    """Says what of which field it is."""
    text = shown(POLICY)
    for part in (
        "cosine of context.hour_of_day/24",
        "context.day_of_week in 5",
        "candidate.is_late\n",
        "candidate.price 0..100",
        "candidate.price is missing",
        "user.hours_away <1\n",
        "user.hours_away[6.5,24)",
        "candidate.channel = mail",
        "candidate.topics #3 of 4",
        "candidate.taste[2]",
        "log of user.sent 0..100",
        "user.best_hour near context.hour_of_day, of 24",
    ):
        assert part in text, part


@pytest.mark.parametrize("width", [20, 40, 80])
def test_narrow_terminals(width: int) -> None:
    """No line is wider, and nothing is cut off."""
    text = shown(PUSH, width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text


def test_other_policies_and_loops() -> None:
    """A baseline, sums, silence that is nothing."""
    text = shown(
        '[policies.p]\ncolumns = ["1"]\nexplore = { by = "thompson", scale = 1 }\nreward_baseline = 0.5\n'
        '[loops.l]\nchampion = "p"\naggregation = "sum"\n'
    )
    assert "p  1 columns, thompson (scale 1, floor 0), baseline 0.5\n" in text
    assert "-1..1 summed  teaches nothing  " in text
    assert "  ! l: has no shadows: nothing is learned about other policies" in text


@pytest.mark.parametrize(("seconds", "text"), [(1, "1s"), (90, "90s"), (3_600, "1h"), (90_000, "25h"), (172_800, "2d")])
def test_durations(seconds: int, text: str) -> None:
    """In the largest unit that leaves no rest."""
    assert duration(seconds) == text
