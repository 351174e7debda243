"""The picture of an explanation: its parts add up, and what is left out is counted."""

import msgspec
import pytest

from app.console.choices.why import shares, why
from app.decisions.explain import Explanation, Part
from state.values.decision import Record, Shadow, Terms

TERMS = Terms(-1.0, 1.0, None, discards=False, adds=False)


def record(ids: list[str], chosen: int, **more: object) -> Record:
    even = [1 / len(ids)] * len(ids)
    shadows = [Shadow("p", even), Shadow("q", [1.0, *[0.0] * (len(ids) - 1)])]
    made = Record(b"", "tips", "p", "open", 1, 0, 1, TERMS, ids, even, chosen, 0.5, 7, shadows, [], [])
    return msgspec.structs.replace(made, **more)


def explained(
    rows: dict[str, list[float]], theta: list[float], runner_up: str | None, margin: float | None, bonus: float = 0.0
) -> Explanation:
    """Candidates by their columns x, named c0, c1, …; each next one has more of the bonus."""
    parts = []
    for place, (name, x) in enumerate(rows.items()):
        contributions = [a * b for a, b in zip(x, theta, strict=True)]
        extra = bonus * place
        parts.append(Part(name, x, contributions, extra, sum(contributions) + extra, 0.5))
    return Explanation([f"c{place}" for place in range(len(theta))], theta, parts, runner_up, margin)


def test_parts_add_up_to_the_score() -> None:
    """What all have in common is told once; the other columns are ordered by what they make of a difference."""
    found = explained({"a": [1, 1, 0], "b": [1, 0, 2]}, [0.25, 1.0, -0.125], "b", 1.25)
    seen = why(record(["a", "b"], 0), found)
    assert (seen.alike, [column.label for column in seen.columns]) == (0.25, ["c1", "c2"])
    assert [(row.id, row.is_chosen, row.parts) for row in seen.rows] == [
        ("a", True, [1.0, 0.0]),
        ("b", False, [0.0, -0.25]),
    ]
    for row in seen.rows:
        assert seen.alike + sum(row.parts) == row.score
    # From -0.25 to 1.0 across 1000: 0 is at 200.
    assert (seen.zero, [bar.x for bar in seen.rows[1].bars], seen.rows[1].at) == (200, [0], 0)


def test_what_the_runner_up_was_short_of() -> None:
    """By column, the most first, and added up it is the margin; the bonus is told apart."""
    found = explained({"a": [1, 1, 0], "b": [1, 0, 2]}, [0.25, 1.0, -0.125], "b", 1.15, bonus=0.1)
    seen = why(record(["a", "b"], 0), found)
    assert [(turn.label, turn.theta, turn.chosen, turn.other) for turn, _ in seen.turns] == [
        ("c1", 1.0, 1, 0),
        ("c2", -0.125, 0, 2),
        ("bonus for what is not known", None, None, None),
    ]
    assert sum(turn.ahead for turn, _ in seen.turns) == pytest.approx(1.15)
    assert [column.tone for column in seen.columns] == ["tone-1", "tone-2", "bonus"]


def test_one_candidate_and_equal_ones() -> None:
    """There is nothing to tell apart."""
    alone = why(record(["a"], 0), explained({"a": [1, 1]}, [1.0, 2.0], None, None))
    assert (alone.columns, alone.turns, alone.alike, alone.rows[0].bars) == ([], [], 3.0, [])
    same = why(record(["a", "b"], 1), explained({"a": [1, 1], "b": [1, 1]}, [1.0, 2.0], "a", 0.0))
    assert (same.turns, [row.is_chosen for row in same.rows]) == ([], [False, True])
    assert (alone.digits, same.digits) == (3, 3)
    told = [same._replace(margin=margin).digits for margin in (12.0, 0.02, -0.004319, 1e-12)]
    assert told == [3, 4, 5, 9]


def test_many_candidates_and_columns() -> None:
    """The best twenty and the chosen one; six columns have a colour and the rest are one."""
    rows = {f"n{place:02}": [float(place % (column + 2)) for column in range(20)] for place in range(60)}
    chosen = min(range(60), key=lambda place: sum(rows[f"n{place:02}"]))
    found = explained(rows, [1.0] * 20, "n59", -2.0)
    seen = why(record(list(rows), chosen), found)
    assert (len(seen.rows), seen.hidden, seen.chosen) == (20, 40, f"n{chosen:02}")
    assert seen.rows[-1].is_chosen
    assert [column.label for column in seen.columns[6:]] == ["14 other columns"]
    assert "other columns" in seen.turns[-1][0].label
    assert sum(turn.ahead for turn, _ in seen.turns) == pytest.approx(
        found.candidates[chosen].score - found.candidates[59].score
    )


def test_shares() -> None:
    """Over all chance first, then each policy alone; without these after the outcome."""
    made = record(["a", "b"], 1)
    assert [(one.id, one.is_chosen, [value for value, _ in one.cells]) for one in shares(made, ["b", "a"])] == [
        ("b", True, [0.5, 0.5, 0.0]),
        ("a", False, [0.5, 0.5, 1.0]),
    ]
    settled = record(["a", "b"], 1, by_policy=[Shadow("p", []), Shadow("q", [])])
    assert [len(one.cells) for one in shares(settled, ["a", "b"])] == [1, 1]
