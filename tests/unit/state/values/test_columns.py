"""Columns of a model, and the name they share."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.errors import CorruptState
from state.values.columns import MOST, Columns

ONE = ("one", "0123456789abcdef")
TWO = ("two", "0123456789abcdef")
OTHER = ("one", "fedcba9876543210")


@given(st.lists(st.tuples(st.text(min_size=1), st.from_regex(r"\A[0-9a-f]{16}\Z")), min_size=1, unique=True))
def test_what_is_written_is_read(pairs: list[tuple[str, str]]) -> None:
    """Whatever the labels are."""
    columns = Columns(tuple(pairs))
    assert Columns.decode("k", columns.encode()) == columns


def test_the_name_is_that_of_the_columns_in_their_order() -> None:
    """It is part of the state: the same for the same columns, for ever."""
    assert Columns((ONE, TWO)).fingerprint == b"0c5ef1120f68e6b0f8b66994"
    assert len({Columns(pairs).fingerprint for pairs in ((ONE, TWO), (TWO, ONE), (ONE,), (OTHER, TWO))}) == 4


def test_columns_are_added_at_the_end() -> None:
    """What is there keeps its place; the same label with another definition is another column."""
    assert Columns((ONE, TWO)).with_all([TWO, OTHER, ONE]).pairs == (ONE, TWO, OTHER)
    assert Columns((ONE,)).labels == ["one"]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b"[]",
        b'[["one"]]',
        b'[["", "0123456789abcdef"]]',
        b'[["one", "0123456789abcdeg"]]',
        b'[["one", "0123456789abcdef"], ["one", "0123456789abcdef"]]',
        b"\xff",
        Columns(tuple((str(place), "0" * 16) for place in range(MOST + 1))).encode(),
    ],
)
def test_what_is_no_list_of_columns(text: bytes) -> None:
    """It is refused with the key."""
    with pytest.raises(CorruptState, match="k: "):
        Columns.decode("k", text)
