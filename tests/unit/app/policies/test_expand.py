"""The columns that a policy names, and how many there may be."""

import pytest

from app.policies.catalog import catalog
from app.policies.reading import BadPolicies
from tests.unit.app.policies.samples import FEATURES

WIDE = "wide = { of = 'user', kind = 'vector', size = 200 }\n"


def labels(text: str) -> tuple[str, ...]:
    rows = f"{FEATURES}{WIDE}[policies.p]\nexplore = {{ by = 'epsilon', epsilon = 0.1 }}\n{text}"
    return catalog(rows).policies["p"].labels


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "columns: takes at least one column, here or in cross"),
        (
            'columns = ["lat"]',
            "columns: takes features, their columns and \"1\", and products of them by *; 'lat' is none",
        ),
        (
            'columns = ["late*"]',
            "columns: takes features, their columns and \"1\", and products of them by *; '' is none",
        ),
        ('cross = [["1"], ["late", "day_of_week"]]', "cross: takes features"),
        ('columns = ["wide", "wide*late"]', "columns: makes more than 256 columns in all"),
        ('columns = ["wide*wide*wide"]', "columns: makes more than 256 columns in all"),
        (
            'columns = ["wide"]\ncross = [["1", "late"], ["hour", "wide*age"]]',
            "cross: makes more than 256 columns in all",
        ),
        ("cross = [" + 8 * '["wide"], ' + "]", "cross: makes more than 256 columns in all"),
        ("cross = [[" + 256 * '"wide*wide", ' + "]]", "cross: makes more than 256 columns in all"),
        ('columns = ["age' + 16 * "*age" + '"]', "columns: takes products of at most 16 columns with 1,024"),
    ],
)
def test_what_cannot_be(text: str, said: str) -> None:
    """Also where the products would never come to an end."""
    with pytest.raises(BadPolicies) as caught:
        labels(text)
    assert str(caught.value).startswith(f"[policies] p: {said}")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('columns = ["1"]', ("1",)),
        ('columns = ["hour", "hour_sin", "1*late", "late*1"]', ("hour_sin", "hour_cos", "late")),
        ('columns = ["late*age", "age*late", "age*age"]', ("age*late", "age*age")),
        ('columns = ["channel=mail*age"]', ("age*channel=mail",)),
        ('columns = ["price_missing", "peak"]', ("price_missing", "peak")),
        (
            'cross = [["1", "hour"], ["late", "age"]]',
            ("late", "age", "hour_sin*late", "age*hour_sin", "hour_cos*late", "age*hour_cos"),
        ),
        (
            'columns = ["age"]\ncross = [["1", "late"], ["1", "saturday"], ["age"]]',
            ("age", "age*saturday", "age*late", "age*late*saturday"),
        ),
    ],
)
def test_columns_in_order(text: str, found: tuple[str, ...]) -> None:
    """As the file names them, each once; a product has one name, and the first list of a cross goes slowest."""
    assert labels(text) == found


def test_a_square_of_many_columns_is_half_as_many() -> None:
    """a*b and b*a are one."""
    rows = "few = { of = 'user', kind = 'vector', size = 20 }\n[policies.p]\ncross = [['1', 'few'], ['1', 'few']]\n"
    found = catalog(f"[features]\n{rows}explore = {{ by = 'epsilon', epsilon = 0.1 }}").policies["p"]
    assert found.d == 1 + 20 + 20 * 21 // 2
