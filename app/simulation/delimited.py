"""A table with a header, as text with commas: read twice, so that only numbers and codes are kept in memory."""

import csv
import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final, TextIO

import msgspec

from app.bandit.context import Fields

__all__ = ["MOST_ROWS", "BadTable", "Column", "Delimited", "read"]

MOST_ROWS: Final = 100_000
_MOST_COLUMNS: Final = 256
_LONGEST_CELL: Final = 1_024
_MOST_LABELS: Final = 100
_LONGEST_NAME: Final = 128


class BadTable(ValueError):
    """The table cannot be used. The message is one line that says where and why."""


class Column(msgspec.Struct, frozen=True):
    """A column: its name in the header and what its cells that are not empty hold.

    `low` and `high` are the least and the greatest of its numbers; a column that does not hold numbers alone has
    `values`, its different texts in the order in which they come first, instead.
    """

    name: str
    low: float = 0.0
    high: float = 0.0
    values: tuple[str, ...] = ()


class Delimited(msgspec.Struct, frozen=True):
    """The rows of a table without the column `label`, whose values are `labels`, sorted; `right` has each row's place
    among them. `is_cut`: the file has more rows than were read."""

    label: str
    labels: tuple[str, ...]
    right: Sequence[int]
    columns: tuple[Column, ...]
    rows: Sequence[Fields]
    is_cut: bool


class _Rows(Sequence[Fields]):
    """Rows as fields, made when they are asked for: numbers, texts, and nothing for an empty cell."""

    def __init__(self, columns: Sequence[Column], cells: Sequence["array[float]"]) -> None:
        self._columns = columns
        self._cells = cells

    def __len__(self) -> int:
        return len(self._cells[0])

    def __getitem__(self, place: int) -> Fields:  # type: ignore[override]  # no slices
        found: dict[str, object] = {}
        for column, cells in zip(self._columns, self._cells, strict=True):
            cell = cells[place]
            if not math.isnan(cell):
                found[column.name] = column.values[int(cell)] if column.values else cell
        return found


def read(file: TextIO, label: str = "") -> Delimited:
    """The table in `file`, which can be read twice; its `label` is the last column unless one is named.

    Of more than 100,000 rows the first are taken, and of a cell the text without white space around it. Raises
    BadTable.
    """
    header = _header(file)
    label = label or header[-1]
    if label not in header:
        raise BadTable(f"has no column {label!r}; its columns are {', '.join(header)}")
    numeric = [True] * len(header)
    count = 0
    for count, row in enumerate(_rows(file, len(header)), 1):  # noqa: B007  # count is used after the loop
        for place, cell in enumerate(row):
            if numeric[place] and cell and not math.isfinite(_number(cell)):
                numeric[place] = False
    if not count:
        raise BadTable("has no rows below its header")
    file.seek(0)
    _header(file)
    numeric[header.index(label)] = False
    cells = [array("d") for _ in header]
    texts: list[dict[str, int]] = [{} for _ in header]
    for row in _rows(file, len(header)):
        for place, cell in enumerate(row):
            if not cell:
                cells[place].append(math.nan)
            elif numeric[place]:
                cells[place].append(float(cell))
            else:
                cells[place].append(texts[place].setdefault(cell, len(texts[place])))
    is_cut = count == MOST_ROWS and any(_read(file))
    return _sorted_out(header, label, cells, texts, is_cut=is_cut)


def _sorted_out(
    header: Sequence[str], label: str, cells: list["array[float]"], texts: list[dict[str, int]], *, is_cut: bool
) -> Delimited:
    at = header.index(label)
    labels = sorted(texts[at])
    if not 2 <= len(labels) <= _MOST_LABELS:
        raise BadTable(f"{label!r} has {len(labels):,} different values; a label takes 2 to {_MOST_LABELS}")
    if any("*" in each for each in labels):
        raise BadTable(f"{label!r} has a value with *, which means a product in a policy file")
    if any(map(math.isnan, cells[at])):
        raise BadTable(f"row {[*map(math.isnan, cells[at])].index(True) + 1:,} has no {label!r}")
    moved = [labels.index(text) for text in texts[at]]
    columns = [
        Column(name, values=tuple(found)) if found else Column(name, *_bounds(numbers))
        for name, numbers, found in zip(header, cells, texts, strict=True)
    ]
    right = [moved[int(code)] for code in cells[at]]
    del columns[at], cells[at]
    if not columns:
        raise BadTable(f"has no column beside {label!r}")
    return Delimited(label, tuple(labels), right, tuple(columns), _Rows(columns, cells), is_cut)


def _header(file: TextIO) -> list[str]:
    names = [cell.strip() for cell in next(_read(file), [])]
    names[:1] = [name.removeprefix("\ufeff") for name in names[:1]]
    if not 2 <= len(names) <= _MOST_COLUMNS:
        raise BadTable(f"has {len(names):,} columns; it takes a header with 2 to {_MOST_COLUMNS} names")
    for name in names:
        if not 1 <= len(name) <= _LONGEST_NAME:
            raise BadTable(f"line 1: a column's name has 1 to {_LONGEST_NAME} characters")
        if names.count(name) > 1:
            raise BadTable(f"line 1: there are two columns {name!r}")
    return names


def _rows(file: TextIO, width: int) -> Iterator[list[str]]:
    """The rows below the header, at most as many as are taken."""
    filled = ((number, row) for number, row in enumerate(_read(file), 1) if row)
    for number, row in islice(filled, MOST_ROWS):
        if len(row) != width:
            raise BadTable(f"row {number:,} has {len(row):,} cells, and the header {width:,}")
        if max(map(len, row)) > _LONGEST_CELL:
            raise BadTable(f"row {number:,}: a cell has at most {_LONGEST_CELL:,} characters")
        yield [cell.strip() for cell in row]


def _read(file: Iterable[str]) -> Iterator[list[str]]:
    try:
        yield from csv.reader(file)
    except csv.Error as error:
        raise BadTable(f"is not text with commas: {error}") from None
    except UnicodeDecodeError:
        raise BadTable("is not UTF-8") from None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _bounds(numbers: Iterable[float]) -> tuple[float, float]:
    known = [each for each in numbers if not math.isnan(each)]
    return (min(known), max(known)) if known else (0.0, 0.0)
