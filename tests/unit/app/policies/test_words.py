"""What a key takes, in words."""

from typing import Annotated, Literal

import pytest
from msgspec import Meta, inspect

from app.policies.rows import AnyFeature, LoopRow, PolicyRow
from app.policies.words import keys_of, shown, takes, type_at


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        ("a\nb", r"'a\nb'"),
        ("x" * 100, f"'{'x' * 59}…"),
        ({}, "a table"),
        ([1, 2], "a list of 2"),
        (1.5, "1.5"),
        (10**100, "a number out of all proportion"),
    ],
)
def test_shown(value: object, text: str) -> None:
    """Short, on one line, and never at length."""
    assert shown(value) == text


@pytest.mark.parametrize(
    ("type_", "text"),
    [
        (bool, "true or false"),
        (int, "a whole number"),
        (float, "a number"),
        (str, "text"),
        (Annotated[int, Meta(ge=1, le=9_000)], "a whole number from 1 to 9,000"),
        (Annotated[float, Meta(ge=0, le=0.5)], "a number from 0 to 0.5"),
        (Annotated[float, Meta(gt=0, le=2)], "a number above 0, at most 2"),
        (Annotated[str, Meta(max_length=9)], "text of 0 to 9 characters"),
        (Literal["a"], "'a'"),
        (Literal["a", "b", "c"], "'a', 'b' or 'c'"),
        (str | None, "text"),
        (list[int], "a list, each a whole number"),
        (Annotated[list[str], Meta(max_length=3)], "a list of 0 to 3 items, each text"),
    ],
)
def test_takes(type_: object, text: str) -> None:
    """Each kind of type."""
    assert takes(inspect.type_info(type_)) == text


def test_types_and_keys_by_their_path() -> None:
    """In a table, in a list, in one of several kinds of tables; the key that says of what kind is found too."""
    policy, feature = inspect.type_info(PolicyRow), inspect.type_info(AnyFeature)
    linucb = {"explore": {"by": "linucb"}}
    assert takes(type_at(policy, linucb, "explore.alpha")) == "a number from 0 to 1,000"
    assert takes(type_at(policy, linucb, "explore.by")) == "'epsilon', 'linucb', 'thompson' or 'igw'"
    assert takes(type_at(policy, {}, "cross[0][2]")) == "text of 1 to 512 characters"
    assert takes(type_at(feature, {"kind": "bins"}, "edges[1]")).startswith("a number")
    assert keys_of(feature, {"kind": "flag"}) == ["kind", "of", "field", "default", "missing"]
    assert keys_of(feature, {"kind": "nothing"}) == []
    assert keys_of(inspect.type_info(LoopRow))[:2] == ["champion", "shadows"]
    assert takes(type_at(policy, {}, "cross")).startswith("a list of 0 to 8 items, each a list of 1 to 256 items, each")
    assert takes(inspect.type_info(LoopRow)).startswith("a table with champion, ")
