"""Objects of any shape as a fixed number of columns."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.bandit.nested import MOST_CROSSED, MOST_TOKENS, Nested, tokens
from tests.unit.app.bandit.values import VALUES

KIND = Nested(64)


def same(one: object, other: object) -> bool:
    return KIND.columns(one) == KIND.columns(other)


@pytest.mark.parametrize(
    ("value", "count"),
    [
        ({"a": "x", "b": 3}, 2),
        ([{"a": "x"}, {"b": {"c": True, "d": "y"}}], 3),
        ({"a": None, "b": False, "c": 0}, 0),
        ({"a": ["x", "y", "x"]}, 2),
        ({"a": [0.5, 0.5]}, 2),
        ({"a": math.nan, "b": math.inf, "c": 10**400}, 0),
        ({"x" * 129: 1, "y": "z" * 1_025}, 0),
        ({str(n): 1 for n in range(1_000)}, MOST_TOKENS),
        ([], 0),
        ([1, "a", None], 0),
    ],
)
def test_parts(value: object, count: int) -> None:
    """Texts, numbers and what is true; nothing else, and not more than 128."""
    found = tokens(value)
    assert found is not None
    assert len(found.words) == len(set(found.words.tolist())) == count


@pytest.mark.parametrize("value", ["a", 1, None, True])
def test_what_is_no_object_cannot_be_read(value: object) -> None:
    """And so counts as missing."""
    assert KIND.columns(value) is None


def test_depth_is_bounded() -> None:
    """What is deeper than eight levels is left out."""
    value: Any = {"end": 1}
    for level in range(8):
        value = {"in": value} if level % 2 else {"in": [value]}
    found = tokens(value)
    assert found is not None
    assert len(found.words) == 0


def test_names_and_places() -> None:
    """The order and the number of objects do not count; the path to a value does."""
    assert same([{"a": 1}, {"b": 2}], {"b": 2, "a": 1})
    assert not same({"a": {"b": 1}}, {"b": {"a": 1}})
    assert not same({"a": [1, 2]}, {"a": [2, 1]})
    assert same({"a": ["x", "y"]}, {"a": ["y", "x"]})


def test_numbers_are_values() -> None:
    """Between -1 and 1, by u/(1+u) with u = log2(1+|v|): 0, 1/2, 2/3 for 0, 1, 3."""
    [one, three, minus] = [sum(map(abs, KIND.columns({"n": n}) or ())) for n in (1, 3, -3)]
    assert [one, three, minus] == pytest.approx([1 / 2, 2 / 3, 2 / 3])
    assert sum(KIND.columns({"n": 3}) or ()) == -sum(KIND.columns({"n": -3}) or ())


def test_the_same_on_every_machine() -> None:
    """Where a part comes, and its sign, never change: models outlive processes."""
    row = KIND.columns({"kind": "news"}, {"day": "monday"})
    assert row is not None
    assert {place: round(part, 6) for place, part in enumerate(row) if part} == {7: -0.707107, 16: -0.707107}


def test_crosses_tell_contexts_apart() -> None:
    """The same object has other columns beside another one, so a context can change a choice."""
    monday, sunday = ([{"day": day}] for day in ("monday", "sunday"))
    assert KIND.columns({"kind": "news"}, monday) != KIND.columns({"kind": "news"}, sunday)
    assert KIND.columns({"kind": "news"}, []) == KIND.columns({"kind": "news"})


def test_collisions_are_even() -> None:
    """Of 4,096 crosses each of 64 buckets has about 64, and about half of them are added: within six deviations."""
    kind = Nested(64)
    names = {str(n): True for n in range(64)}
    counts = np.zeros(64)
    signs = 0.0
    for name in names:
        row = np.array(kind.columns({name: True}, names)) * math.sqrt(65)
        counts += np.abs(row)
        signs += row.sum()
    assert abs(signs) < 6 * math.sqrt(64 * 65)
    assert counts.max() < 65 + 6 * math.sqrt(65)


@given(st.integers(2, 256), VALUES, VALUES)
def test_any_value_gives_bounded_columns_or_none(buckets: int, value: object, other: object) -> None:
    """For whatever JSON can hold."""
    for sent in (value, {"a": value}):
        found = Nested(buckets).columns(sent, other)
        assert found is None or (len(found) == buckets and all(-1.0 <= each <= 1.0 for each in found))


@given(st.lists(VALUES, max_size=5), VALUES)
def test_many_at_once_are_as_each_alone(values: list[Any], other: Any) -> None:
    """To the last bit."""
    sent = [*values, {"a": values}, [{"b": other}]]
    beside = {"c": other}
    assert KIND.rows(sent, beside) == [KIND.columns(each, beside) for each in sent]
    assert KIND.rows([], beside) == []


def test_products_are_bounded() -> None:
    """Beyond the first 64 parts of each object they are left out, the parts themselves are not."""
    own, beside = ({f"{name}{n}": True for n in range(MOST_TOKENS)} for name in "ab")
    short = dict(list(beside.items())[:MOST_CROSSED])
    assert KIND.columns(own, beside) == KIND.columns(own, short) != KIND.columns(own, {})
    alone = {**dict(list(own.items())[:MOST_CROSSED])}
    assert KIND.columns(own, beside) != KIND.columns(alone, beside)
    count = MOST_TOKENS + MOST_CROSSED**2
    assert sum(map(abs, KIND.columns(own, beside) or ())) <= count / math.sqrt(count)
