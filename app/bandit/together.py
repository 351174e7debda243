"""The odds of many decisions of a policy at once; in each, equal candidates may share what one of them would have."""

from collections.abc import Hashable, Sequence
from itertools import accumulate

import numpy as np

from app.bandit.explore import Explorer, Normals, Odds, floored
from app.bandit.ridge import Matrix, Stack, Vector

__all__ = ["scores_of", "together"]


def together(
    explorer: Explorer,
    models: Sequence[tuple[Matrix, Vector]],
    x: Matrix,
    *,
    counts: Sequence[int],
    seeds: Sequence[int],
    floors: Sequence[float | None],
    normals: Normals,
    distinct: bool,
) -> Sequence[Odds]:
    """The odds of decisions with these A and b, as many candidates, seeds, and floors if these are not the explorer's.

    The rows of `x` are the candidates of all, those of one decision after those of the other. The odds are to the last
    bit those that a decision would have alone. With `distinct`, rows that are equal bit for bit share what one of them
    alone would have. Otherwise rounding would choose among them, and a candidate that is sent twice would be explored
    twice as much. Raises Singular if a decision has none.
    """
    groups: list[list[int] | None] = []
    if distinct:
        x, counts, groups = _distinct(x, counts)
    solved = explorer.solved(*_stacked(models))
    n = len(models)
    if n == 1 or (counts.count(counts[0]) == floors.count(floors[0]) == n):
        odds = _with(explorer, floors[0]).odds_of(solved, x.reshape(n, counts[0], -1), seeds, normals)
    else:
        found: dict[int, Odds] = {}
        rows, kinds = _split(x, counts), list(zip(counts, floors, strict=True))
        for kind in set(kinds):
            places = [place for place, each in enumerate(kinds) if each == kind]
            alike, own = np.array([rows[place] for place in places]), [seeds[place] for place in places]
            some = _with(explorer, kind[1]).odds_of(solved.of(places), alike, own, normals)
            found.update(zip(places, some, strict=True))
        odds = [found[place] for place in range(n)]
    return list(map(_shared, odds, groups)) if any(groups) else odds


def _stacked(models: Sequence[tuple[Matrix, Vector]]) -> tuple[Stack, Matrix]:
    """All A (n x d x d) and all b (n x d); a model alone is not copied."""
    if len(models) == 1:
        [(a, b)] = models
        return a[None], b[None]
    every_a, every_b = zip(*models, strict=True)
    shape = len(models), -1, len(every_b[0])
    return np.concatenate(every_a).reshape(shape), np.concatenate(every_b).reshape(shape[::2])


def _with(explorer: Explorer, floor: float | None) -> Explorer:
    return explorer if floor is None else floored(explorer, floor)


def _split(x: Matrix, counts: Sequence[int]) -> list[Matrix]:
    """The rows of each decision."""
    return [x[end - count : end] for count, end in zip(counts, accumulate(counts), strict=True)]


def _distinct(x: Matrix, counts: Sequence[int]) -> tuple[Matrix, Sequence[int], list[list[int] | None]]:
    """Those rows of each decision that differ, and their numbers; and for each decision, which of them each of its
    rows is, or None if all differ."""
    x = x + 0.0  # turns -0.0 into 0.0, which has other bits
    texts = x.view(np.dtype((np.void, 8 * x.shape[1]))).ravel().tolist()
    starts = list(accumulate(counts[:-1], initial=0))
    groups = [_group(texts[start : start + count]) for start, count in zip(starts, counts, strict=True)]
    if not any(groups):
        return x, counts, groups
    firsts = [range(count) if group is None else _firsts(group) for count, group in zip(counts, groups, strict=True)]
    kept = [start + place for start, places in zip(starts, firsts, strict=True) for place in places]
    return x[kept], [len(places) for places in firsts], groups


def _group(rows: Sequence[Hashable]) -> list[int] | None:
    """Which of the rows that differ each row is; None if all differ."""
    if len({*rows}) == len(rows):
        return None
    places = {row: place for place, row in enumerate(dict.fromkeys(rows))}
    return [places[row] for row in rows]


def _firsts(group: list[int]) -> list[int]:
    """Where each row of those that differ is for the first time."""
    firsts: dict[int, int] = {}
    for row, place in enumerate(group):
        firsts.setdefault(place, row)
    return list(firsts.values())


def _shared(odds: Odds, group: list[int] | None) -> Odds:
    """The odds of all rows, from those of the rows that differ."""
    if group is None:
        return odds
    counts = np.bincount(group).tolist()
    return Odds(
        odds.scores[group],
        [odds.propensities[place] / counts[place] for place in group],
        [odds.random[place] / counts[place] for place in group],
        odds.theta,
        None if odds.bonus is None else odds.bonus[group],
    )


def scores_of(x: Matrix, theta: Vector, bonus: Vector | None, *, distinct: bool) -> Vector:
    """The scores of a decision's rows from its `theta` and `bonus`: to the last bit those that `together` gave."""
    group = None
    if distinct:
        x, _, [group] = _distinct(x, [len(x)])
    scores: Vector = x @ theta
    if bonus is not None:
        scores = scores + (bonus if group is None else bonus[_firsts(group)])
    return scores if group is None else scores[group]
