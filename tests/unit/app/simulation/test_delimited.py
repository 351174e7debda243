"""A table of numbers and texts is read as such; whatever cannot be used is one line that says where."""

import io
import sys
import tracemalloc

import pytest

from app.simulation import delimited
from app.simulation.delimited import BadTable, Column, read

MAILS = "hour,kind ,size,answered\n9,work,1.5,yes\n\n21,home,,no\n 7 ,work,-2,yes\n"


def test_columns_and_rows() -> None:
    """Columns of numbers have bounds, others their texts; an empty cell is absent; the label is apart."""
    found = read(io.StringIO(MAILS))
    assert (found.label, found.labels, list(found.right)) == ("answered", ("no", "yes"), [1, 0, 1])
    assert found.columns == (
        Column("hour", 7.0, 21.0),
        Column("kind", values=("work", "home")),
        Column("size", -2.0, 1.5),
    )
    assert list(found.rows) == [
        {"hour": 9.0, "kind": "work", "size": 1.5},
        {"hour": 21.0, "kind": "home"},
        {"hour": 7.0, "kind": "work", "size": -2.0},
    ]
    assert not found.is_cut


def test_another_label() -> None:
    """Any column can be the label; its numbers are texts."""
    found = read(io.StringIO(MAILS), "hour")
    assert found.labels == ("21", "7", "9")
    assert [column.name for column in found.columns] == ["kind", "size", "answered"]
    assert list(found.right) == [2, 0, 1]


def test_what_is_no_number_makes_a_column_of_texts() -> None:
    """A question mark, infinity and "nan" are texts, and then all of the column is."""
    for odd in ("?", "inf", "nan", "1,5"):
        found = read(io.StringIO(f'a,b\n1,x\n"{odd}",y\n'))
        assert found.columns == (Column("a", values=("1", odd)),)


def test_an_empty_column() -> None:
    """It has no numbers and no texts, and no row has it."""
    found = read(io.StringIO("a,b\n,x\n,y\n"))
    assert (found.columns, list(found.rows)) == ((Column("a"),), [{}, {}])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "has 0 columns; it takes a header with 2 to 256 names"),
        ("a\n1\n", "has 1 columns; it takes a header with 2 to 256 names"),
        ("a,b\n", "has no rows below its header"),
        ("a,a\n1,2\n", "line 1: there are two columns 'a'"),
        ("a,\n1,2\n", "line 1: a column's name has 1 to 128 characters"),
        ("a,b\n1,x\n1,2,3\n", "row 2 has 3 cells, and the header 2"),
        ("a,b\n1,x\n2,x\n", "'b' has 1 different values; a label takes 2 to 100"),
        (
            "a,b\n" + "".join(f"1,{number}\n" for number in range(101)),
            "'b' has 101 different values; a label takes 2 to 100",
        ),
        ("a,b\n1,x\n2,\n3,y\n", "row 2 has no 'b'"),
        ("a,b\n1,x\n2,y*z\n", "'b' has a value with *, which means a product in a policy file"),
        (f"a,b\n1,{'x' * 1_025}\n", "row 1: a cell has at most 1,024 characters"),
        (f"a,b\n1,{'x' * 200_000}\n", "is not text with commas: field larger than field limit (131072)"),
    ],
)
def test_bad_tables(text: str, problem: str) -> None:
    """Each is refused with what is wrong."""
    with pytest.raises(BadTable) as refused:
        read(io.StringIO(text))
    assert str(refused.value) == problem


def test_a_label_that_is_not_there() -> None:
    """The columns are named."""
    with pytest.raises(BadTable, match=r"^has no column 'x'; its columns are hour, kind, size, answered$"):
        read(io.StringIO(MAILS), "x")


def test_bytes_that_are_no_text() -> None:
    """A file of another kind is refused."""
    with pytest.raises(BadTable, match="is not UTF-8"):
        read(io.TextIOWrapper(io.BytesIO(b"\xff\xfe\x00"), encoding="utf-8"))


def test_a_mark_at_the_beginning() -> None:
    """The byte order mark that spreadsheets write is no part of a name."""
    assert read(io.StringIO("\ufeffa,b\n1,x\n2,y\n")).columns[0].name == "a"


def test_only_so_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first are taken, and it is said that there are more; an empty line at the end is no row."""
    monkeypatch.setattr(delimited, "MOST_ROWS", 2)
    found = read(io.StringIO("a,b\n1,x\n2,y\n3,z\n"))
    assert (len(found.rows), found.labels, found.is_cut) == (2, ("x", "y"), True)
    assert not read(io.StringIO("a,b\n1,x\n2,y\n\n")).is_cut


def test_memory_is_a_number_for_a_cell() -> None:
    """What a table keeps does not grow by the texts of its cells, but by 8 bytes for each and a list of labels."""
    count = 5_000
    text = io.StringIO(
        "a,b,c\n" + "".join(f"{number}.{'1' * 60},text of some length,{number % 2}\n" for number in range(count))
    )
    tracemalloc.start()
    found = read(text)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found.rows) == count
    assert kept < 40 * count + 100 * sys.getsizeof("")
