"""What has been learned of a user, as pictures: columns as bars, and choices where a field changes. Pure."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from app.console.choices.preview import Row
from app.drawing.bars import Across, Bar, shade

__all__ = ["Cell", "Heat", "Weight", "heat", "weights"]

# Candidates that a picture has room for.
_LINES: Final = 12


class Weight(NamedTuple):
    """What a policy holds a column to be worth, and how sure it is; `zero` is the place of 0."""

    label: str
    theta: float
    error: float
    bar: Bar
    range: Bar
    zero: int


class Cell(NamedTuple):
    """A candidate at one value of the field: the shade of its score, and whether its propensity is the highest."""

    shade: int
    is_best: bool
    score: float
    propensity: float


class Heat(NamedTuple):
    """A picture of the scores of candidates by the values of a field, and for each value the choice."""

    field: str
    values: list[Any]
    lines: list[tuple[str, list[Cell]]]
    hidden: int
    low: float
    high: float
    choices: list[tuple[Any, str, float, float | None]]


def weights(
    labels: Sequence[str], theta: Sequence[float], errors: Sequence[float], *, most: int
) -> tuple[list[Weight], int]:
    """At most so many columns as bars, each with the range of its standard error, and how many are left out: those
    nearest to 0."""
    largest = sorted(range(len(labels)), key=lambda place: -abs(theta[place]))[:most]
    kept = sorted(largest)
    ends = [theta[place] + sign * errors[place] for place in kept for sign in (-1, 1)]
    scale = Across.over(ends)
    found = [
        Weight(
            labels[place],
            theta[place],
            errors[place],
            scale.bar(0.0, theta[place]),
            scale.bar(theta[place] - errors[place], theta[place] + errors[place]),
            scale.zero,
        )
        for place in kept
    ]
    return found, len(labels) - len(kept)


def heat(field: str, rows: Sequence[Row], ids: Sequence[str]) -> Heat:
    """The picture of `rows`, one for each value of `field`, of the candidates with these ids."""
    scores = [score for row in rows for score in row.scores]
    low, high = min(scores), max(scores)
    best = [max(range(len(ids)), key=row.propensities.__getitem__) for row in rows]
    # Those that are the best somewhere, then the others.
    often = sorted(range(len(ids)), key=lambda place: -best.count(place))
    kept = sorted(often[:_LINES])
    lines = [
        (
            ids[at],
            [
                Cell(shade(row.scores[at], low, high), at == first, row.scores[at], row.propensities[at])
                for row, first in zip(rows, best, strict=True)
            ],
        )
        for at in kept
    ]
    choices = [
        (row.value, ids[first], row.propensities[first], _margin(row.scores, first))
        for row, first in zip(rows, best, strict=True)
    ]
    return Heat(field, [row.value for row in rows], lines, len(ids) - len(kept), low, high, choices)


def _margin(scores: Sequence[float], first: int) -> float | None:
    """By how much a score is above the best of the others; None if there is no other."""
    others = [score for place, score in enumerate(scores) if place != first]
    return scores[first] - max(others) if others else None
