"""The rows of a file: what of a feature does not fit together."""

import pytest

from app.bandit import kinds
from app.policies.catalog import catalog
from app.policies.reading import BadPolicies, parse
from tests.unit.app.policies.samples import FEATURES


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ('kind = "number", min = 1, max = 1', "min: takes a number below max, 1, not 1"),
        ('kind = "number", min = 2, max = 1', "min: takes a number below max, 1, not 2"),
        ('kind = "bins", edges = [1, 1]', "edges: takes numbers that ascend, each once"),
        ('kind = "bins", edges = [2, 1]', "edges: takes numbers that ascend, each once"),
        ('kind = "category", values = ["a", "a"]', "values: takes values that differ"),
        ('kind = "category", values = [1, "1"]', "values: takes values that differ, and not a number and its text"),
        ('kind = "category", values = ["a*b"]', "values: takes text of printable characters without *, not 'a*b'"),
        ('kind = "category", values = ["a\\nb"]', r"values: takes text of printable characters without *, not 'a\nb'"),
    ],
)
def test_what_does_not_fit_together(row: str, said: str) -> None:
    """Table and key are named."""
    with pytest.raises(BadPolicies) as caught:
        catalog(f'[features]\na = {{ of = "user", {row} }}')
    assert str(caught.value).startswith(f"[features] a: {said}")


def test_kinds() -> None:
    """Each row makes its kind."""
    made = {name: row.made() for name, row in parse(FEATURES).features.items()}
    assert made == {
        "hour": kinds.Cycle(24.0),
        "saturday": kinds.Member(frozenset({5.0})),
        "late": kinds.Flag(),
        "age": kinds.Number(0.0, 30.0),
        "price": kinds.Number(0.0, 100.0),
        "pause": kinds.Bins((1.0, 6.5, 24.0)),
        "channel": kinds.Category(("push", "mail")),
        "arm": kinds.Category(("a", "b")),
        "topics": kinds.Hash(4),
        "taste": kinds.Vector(3),
        "volume": kinds.Number(0.0, 100.0, log=True),
        "peak": kinds.Alignment(24.0),
    }
