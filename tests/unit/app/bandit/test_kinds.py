"""The kinds of features: what each value becomes."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.bandit.kinds import Alignment, Bins, Category, Cycle, Flag, Hash, Kind, Member, Number, Vector, number
from tests.unit.app.bandit.values import ODD, VALUES

HALF = math.sqrt(0.5)
KINDS: list[Kind] = [
    Number(0.0, 10.0),
    Number(-1e12, 1e12),
    Number(0.0, 10.0, log=True),
    Flag(),
    Member(frozenset({5.0, "x"})),
    Cycle(24.0),
    Cycle(1e-6),
    Alignment(24.0),
    Bins((0.0, 1.5)),
    Category((1.0, "x")),
    Hash(3),
    Vector(2),
]


@pytest.mark.parametrize(
    ("value", "found"),
    [(3, 3.0), (-0.5, -0.5), (True, 1.0), (False, 0.0), ("2.5", 2.5), (" 1 ", 1.0), ("1_0", 10.0), (10**300, 1e300)]
    + [(value, None) for value in ODD],
)
def test_number(value: object, found: float | None) -> None:
    """A number, the text of one, or a truth value; nothing else, and nothing that is not finite."""
    assert number(value) == found


@pytest.mark.parametrize(
    ("kind", "value", "columns"),
    [
        (Number(0.0, 10.0), 4, (0.4,)),
        (Number(0.0, 10.0), -4, (0.0,)),
        (Number(0.0, 10.0), 10**300, (1.0,)),
        (Number(-2.0, 2.0), "1", (0.75,)),
        (Number(0.0, 10.0), True, (0.1,)),
        (Number(1.0, 10.0, log=True), 1, (0.0,)),
        (Number(1.0, 10.0, log=True), 4, (math.log(4) / math.log(10),)),
        (Number(1.0, 10.0, log=True), 99, (1.0,)),
        (Flag(), True, (1.0,)),
        (Flag(), 0.25, (0.25,)),
        (Flag(), -3, (0.0,)),
        (Flag(), "1", (1.0,)),
        (Member(frozenset({5.0, "x"})), 5, (1.0,)),
        (Member(frozenset({5.0, "x"})), "x", (1.0,)),
        (Member(frozenset({5.0, "x"})), "5", (0.0,)),
        (Member(frozenset({5.0, "x"})), math.nan, (0.0,)),
        (Member(frozenset({5.0, "x"})), None, None),
        (Member(frozenset({5.0, "x"})), [5], None),
        (Cycle(24.0), 0, (0.0, 1.0)),
        (Cycle(24.0), 6, (1.0, 0.0)),
        (Cycle(24.0), 30, (1.0, 0.0)),
        (Cycle(24.0), -6, (-1.0, 0.0)),
        (Cycle(24.0), 24 * 10.0**300, (math.sin, math.cos)),
        (Bins((0.0, 1.5)), -1, (1.0, 0.0, 0.0)),
        (Bins((0.0, 1.5)), 0, (0.0, 1.0, 0.0)),
        (Bins((0.0, 1.5)), 1.5, (0.0, 0.0, 1.0)),
        (Category((1.0, "x")), 1, (1.0, 0.0)),
        (Category((1.0, "x")), True, (1.0, 0.0)),
        (Category((1.0, "x")), "x", (0.0, 1.0)),
        (Category((1.0, "x")), "1", None),
        (Category((1.0, "x")), math.nan, None),
        (Category((1.0, "x")), ["x"], None),
        (Category((1.0, "x")), None, None),
        (Hash(3), [], (0.0, 0.0, 0.0)),
        (Hash(3), "a" * 1_024, 1.0),
        (Hash(3), ["a"] * 64, 1.0),
        (Hash(3), ("a", "b"), 1.0),
        (Hash(3), "\ud800", 1.0),
        (Hash(3), "a" * 1_025, None),
        (Hash(3), ["a"] * 65, None),
        (Hash(3), ["a", 1], None),
        (Hash(3), None, None),
        (Vector(2), [0.5, -2], (0.5, -1.0)),
        (Vector(2), (3, "0.25"), (1.0, 0.25)),
        (Vector(2), [1], None),
        (Vector(2), [1, 2, 3], None),
        (Vector(2), [1, math.nan], None),
        (Vector(2), [1, None], None),
        (Vector(2), "ab", None),
        *[(kind, odd, None) for kind in (Number(0.0, 1.0), Flag(), Cycle(7.0), Bins((0.0,))) for odd in ODD],
        *[(Alignment(24.0), odd, None) for odd in ODD],
    ],
)
def test_columns(kind: Kind, value: object, columns: object) -> None:
    """A number stands for the length of the row, a pair of functions for a pair of finite numbers."""
    found = kind.columns(value)
    if isinstance(columns, float):
        assert found is not None
        assert math.hypot(*found) == pytest.approx(columns)
    elif columns == (math.sin, math.cos):
        assert found is not None
        assert math.hypot(*found) == pytest.approx(1.0)
    else:
        assert found == (columns if columns is None else pytest.approx(columns, abs=1e-12))


@pytest.mark.parametrize(
    ("one", "other", "found"),
    [
        (3, 3, 1.0),
        (3, 15, 0.0),
        (0, 6, 0.5),
        (23, 1, (math.cos(math.pi / 6) + 1) / 2),
        (1, 23, (math.cos(math.pi / 6) + 1) / 2),
        (27, "3", 1.0),
        (3, None, None),
        (1e308, -1e308, None),
    ],
)
def test_alignment(one: object, other: object, found: float | None) -> None:
    """1 for the same point of the circle, 0 for the opposite one; of two values that can be told apart."""
    columns = Alignment(24.0).columns(one, other)
    assert columns == (None if found is None else pytest.approx((found,), abs=1e-12))


@pytest.mark.parametrize(
    ("kind", "endings"),
    [
        (Number(0.0, 1.0), ("",)),
        (Flag(), ("",)),
        (Member(frozenset({1.0})), ("",)),
        (Alignment(7.0), ("",)),
        (Cycle(7.0), ("_sin", "_cos")),
        (Bins((1.0,)), ("<1", ">=1")),
        (Bins((-0.5, 1_000_001.0, 1_000_002.0)), ("<-0.5", "[-0.5,1000001)", "[1000001,1000002)", ">=1000002")),
        (Category((1.0, 0.1, 1e300, "x")), ("=1", "=0.1", "=1e+300", "=x")),
        (Hash(2), ("#0", "#1")),
        (Vector(2), ("[0]", "[1]")),
    ],
)
def test_endings(kind: Kind, endings: tuple[str, ...]) -> None:
    """Each column has a name that tells it from the others, however near two numbers are."""
    assert kind.endings == endings


def test_hashes_are_the_same_on_every_machine() -> None:
    """And lists are sums of what is in them, twice the same text counts twice, brought to length 1."""
    kind = Hash(4)
    a, b = kind.columns("a"), kind.columns("b")
    assert a == (-1.0, 0.0, 0.0, 0.0)
    assert b == (0.0, 0.0, -1.0, 0.0)
    both = [2 * one + other for one, other in zip(a, b, strict=True)]
    assert kind.columns(["a", "b", "a"]) == pytest.approx([part / math.hypot(*both) for part in both])


def test_signs_of_hashes_are_even() -> None:
    """Half of many texts are added, and buckets are filled evenly: within six standard deviations."""
    rows = [Hash(4).columns(f"text {n}") for n in range(4_000)]
    signs = sum(sum(row) for row in rows if row is not None)
    assert abs(signs) < 6 * math.sqrt(4_000)
    for bucket in range(4):
        count = sum(abs(row[bucket]) for row in rows if row is not None)
        assert abs(count - 1_000) < 6 * math.sqrt(4_000 * 3 / 16)


@given(st.sampled_from(KINDS), VALUES, VALUES)
def test_any_value_gives_bounded_columns_or_none(kind: Kind, value: object, other: object) -> None:
    """As many as it has names, all finite and in -1..1, for whatever JSON can hold."""
    found = kind.columns(value, other)
    if found is not None:
        assert len(found) == len(kind.endings)
        assert all(-1.0 <= column <= 1.0 for column in found)
