"""Why a candidate was chosen, as a picture: what each column contributed, and what the runner-up was short of. Pure."""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.decisions.explain import Explanation
from app.drawing.bars import Across, Bar, shade, stacked
from state.values.decision import Record

__all__ = ["Column", "Share", "Turn", "Weighed", "Why", "shares", "why"]

# Candidates and columns that are shown; the others are told in numbers.
_CANDIDATES: Final = 20
_TONES: Final = 6
_TURNS: Final = 12
# A column that adds the same to every score does not change the choice.
_SAME: Final = 1e-12
_MOST_DIGITS: Final = 9
_BONUS: Final = "bonus for what is not known"


class Column(NamedTuple):
    """A column, or several, with the colour of their parts."""

    label: str
    tone: str


class Weighed(NamedTuple):
    """A candidate with the parts of its score, in the order of the columns."""

    id: str
    is_chosen: bool
    score: float
    propensity: float
    parts: list[float]
    bars: list[Bar]
    at: int


class Turn(NamedTuple):
    """By how much a column puts the chosen one ahead of the runner-up: theta times the difference of their values,
    which are none where it stands for something else."""

    label: str
    ahead: float
    theta: float | None = None
    chosen: float | None = None
    other: float | None = None


class Why(NamedTuple):
    """The columns, the candidates with the best scores, and the runner-up with what it was short of.

    `alike` is what all scores have in common; the bars begin at its place, `zero`. `turn_zero` is the place of 0 among
    the turns. `hidden` candidates are left out.
    """

    columns: list[Column]
    rows: list[Weighed]
    alike: float
    zero: int
    hidden: int
    chosen: str
    runner_up: str | None
    margin: float | None
    turns: list[tuple[Turn, Bar]]
    turn_zero: int

    @property
    def digits(self) -> int:
        """With how many digits the margin and what adds up to it are told: three that count, if it is small."""
        return 3 if not self.margin else min(max(3, 2 - math.floor(math.log10(abs(self.margin)))), _MOST_DIGITS)


class Share(NamedTuple):
    """A candidate, and the propensity that each policy gives it, with its shade; the first is that of the draw."""

    id: str
    is_chosen: bool
    cells: list[tuple[float, int]]


def why(made: Record, found: Explanation) -> Why:
    """The picture of an explanation."""
    contributions = np.array([part.contributions for part in found.candidates])
    spread = np.ptp(contributions, axis=0)
    order = [place for place in np.argsort(-spread, kind="stable").tolist() if spread[place] > _SAME]
    first, rest = order[:_TONES], order[_TONES:]
    alike = float(contributions[0, spread <= _SAME].sum())
    columns = [Column(found.columns[at], f"tone-{n}") for n, at in enumerate(first, 1)]
    parts = [contributions[:, at] for at in first]
    if rest:
        columns.append(Column(f"{len(rest)} other columns", "rest"))
        parts.append(contributions[:, rest].sum(axis=1))
    if any(part.bonus for part in found.candidates):
        columns.append(Column(_BONUS, "bonus"))
        parts.append(np.array([part.bonus for part in found.candidates]))
    chosen = made.ids[made.chosen]
    table = np.array(parts).reshape(len(parts), len(found.candidates))
    rows, scale, hidden = _rows(found, chosen, columns, table, alike)
    turns = _turns(found, chosen)
    turn_scale = Across.over(turn.ahead for turn in turns)
    return Why(
        columns=columns,
        rows=rows,
        alike=alike,
        zero=scale.zero,
        hidden=hidden,
        chosen=chosen,
        runner_up=found.runner_up,
        margin=found.margin,
        turns=[(turn, turn_scale.bar(0.0, turn.ahead)) for turn in turns],
        turn_zero=turn_scale.zero,
    )


def _rows(
    found: Explanation, chosen: str, columns: Sequence[Column], parts: NDArray[np.float64], alike: float
) -> tuple[list[Weighed], Across, int]:
    """The candidates with the best scores, and the chosen one; the scale of their bars; and how many are left out."""
    places = sorted(range(len(found.candidates)), key=lambda place: -found.candidates[place].score)
    named = [found.candidates[place].id for place in places]
    kept = places[:_CANDIDATES]
    if chosen not in named[:_CANDIDATES]:
        kept = [*kept[:-1], places[named.index(chosen)]]
    tones = [column.tone for column in columns]
    stacks = {place: stacked(list(zip(tones, parts[:, place].tolist(), strict=True))) for place in kept}
    above = [found.candidates[place].score - alike for place in kept]
    scale = Across.over([*above, *(end for stack in stacks.values() for _, *ends in stack for end in ends)])
    rows = [
        Weighed(
            id=one.id,
            is_chosen=one.id == chosen,
            score=one.score,
            propensity=one.propensity,
            parts=parts[:, place].tolist(),
            bars=[scale.bar(start, end, tone) for tone, start, end in stacks[place]],
            at=scale.at(one.score - alike),
        )
        for place in kept
        for one in (found.candidates[place],)
    ]
    return rows, scale, len(places) - len(kept)


def _turns(found: Explanation, chosen: str) -> list[Turn]:
    """What puts the chosen one ahead of the runner-up, the most first."""
    by_id = {part.id: part for part in found.candidates}
    if found.runner_up is None:
        return []
    one, other = by_id[chosen], by_id[found.runner_up]
    ahead = np.subtract(one.contributions, other.contributions)
    order = [place for place in np.argsort(-abs(ahead), kind="stable").tolist() if abs(ahead[place]) > _SAME]
    turns = [
        Turn(found.columns[at], float(ahead[at]), found.theta[at], one.x[at], other.x[at]) for at in order[:_TURNS]
    ]
    if rest := order[_TURNS:]:
        turns.append(Turn(f"{len(rest)} other columns", float(ahead[rest].sum())))
    if one.bonus or other.bonus:
        turns.append(Turn(_BONUS, one.bonus - other.bonus))
    return turns


def shares(made: Record, shown: Sequence[str]) -> list[Share]:
    """The propensities of the candidates `shown`, in this order: over all chance, and by each policy alone."""
    places = {name: place for place, name in enumerate(made.ids)}
    alone = [each.propensities for each in made.by_policy if each.propensities]
    found = []
    for name in shown:
        at = places[name]
        values = [made.propensities[at], *(each[at] for each in alone)]
        cells = [(value, shade(value, 0.0, 1.0)) for value in values]
        found.append(Share(name, at == made.chosen, cells))
    return found
