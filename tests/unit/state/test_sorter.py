"""Sorting by user in a temporary file."""

import pytest

from state.sorter import Sorter


def test_users_in_order() -> None:
    """Each user once, with the kinds noted in any order; of one kind the last data."""
    with Sorter() as sorter:
        for user, kind, data in [("b", "y", b"1"), ("a", "", b""), ("b", "x", b"2"), ("b", "y", b"3"), ("é", "z", b"")]:
            sorter.add(user, kind, data)
        assert list(sorter) == [("a", []), ("b", [("x", b"2"), ("y", b"3")]), ("é", [("z", b"")])]
        assert sorter.count() == 3
        assert sorter.kinds("b") == ["x", "y"]
        assert sorter.kinds("a") == sorter.kinds("nobody") == []


def test_a_full_disk_is_an_oserror() -> None:
    """What SQLite cannot write is told as any other file that cannot be written."""
    with Sorter() as sorter:
        sorter._base.execute("PRAGMA max_page_count = 3")
        with pytest.raises(OSError, match="full"):
            sorter.add("user", "kind", b"x" * 100_000)


def test_closed_at_the_end() -> None:
    """The file goes with the block."""
    with Sorter() as sorter:
        sorter.add("a")
    with pytest.raises(OSError, match="closed"):
        sorter.count()
