"""From the text of a policy file to its rows, with errors that name table, key, and what it takes."""

import re
import tomllib
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import msgspec
from msgspec import inspect

from app.policies.rows import AnyFeature, File, LoopRow, PolicyRow
from app.policies.words import keys_of, shown, takes, type_at

__all__ = ["MOST_BYTES", "BadPolicies", "parse", "rows_of"]

R = TypeVar("R")

# A file has this many bytes at most, and each of its tables so many names.
MOST_BYTES: Final = 1_000_000
_MOST: Final = 256
_TABLES: Final[Mapping[str, Any]] = {"features": AnyFeature, "policies": PolicyRow, "loops": LoopRow}
_NAME: Final = {
    "features": re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}"),
    "policies": re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"),
    "loops": re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"),
}
_NAMED: Final = {
    "features": "a name of 1 to 64 letters, digits and underscores that does not begin with a digit",
    "policies": "a name of 1 to 64 letters, digits, dots, hyphens and underscores that begins with a letter or digit",
    "loops": "a name of 1 to 64 letters, digits, hyphens and underscores that begins with a letter or digit",
}


class BadPolicies(ValueError):
    """The policy file does not fit. The message is one line that names the table and the key."""

    def __init__(self, message: str) -> None:
        # A key may hold anything, line breaks too.
        super().__init__("".join(each if each.isprintable() else ascii(each)[1:-1] for each in message))


def parse(text: str) -> File:
    """The rows of a policy file. Raises BadPolicies."""
    if len(text) > MOST_BYTES or len(text.encode(errors="replace")) > MOST_BYTES:
        raise BadPolicies(f"has more than {MOST_BYTES:,} bytes")
    try:
        tables = tomllib.loads(text)
    except RecursionError:
        raise BadPolicies("is not TOML: its lists or tables are too deep in one another") from None
    except ValueError as error:
        raise BadPolicies(f"is not TOML: {error}") from None
    return rows_of(tables)


def rows_of(tables: Mapping[str, object]) -> File:
    """The rows in the tables of a policy file. Raises BadPolicies."""
    for table in tables:
        if table not in _TABLES:
            raise BadPolicies(f"has a table [{table[:64]}]; it takes [features], [policies.NAME] and [loops.NAME]")
    return File(**{table: _rows(table, tables.get(table, {}), row) for table, row in _TABLES.items()})


def _rows(table: str, found: object, row: Any) -> dict[str, Any]:
    if not isinstance(found, dict) or len(found) > _MOST:
        raise BadPolicies(f"[{table}] takes a table for each name, at most {_MOST}, not {shown(found)}")
    for name in found:
        if not _NAME[table].fullmatch(name):
            raise BadPolicies(f"[{table}] {shown(name)}: takes {_NAMED[table]}")
    return {name: _row(f"[{table}] {name}", value, row) for name, value in found.items()}


def _row(where: str, value: object, row: type[R]) -> R:
    try:
        return msgspec.convert(value, row)
    except msgspec.ValidationError as error:
        raise BadPolicies(f"{where}: {_plainly(str(error), value, inspect.type_info(row))}") from None


def _plainly(message: str, value: object, row: inspect.Type) -> str:
    """The message of msgspec in the words of a policy file."""
    said, _, path = message.partition(" - at `$")
    path = path.rstrip("`").strip(".")
    found: Any = value
    for name, place in re.findall(r"([^.\[\]]+)|\[(\d+)\]", path):
        found = found[int(place)] if place else found[name]
    here = type_at(row, value, path)
    key = f"{path}: " if path else ""
    unknown = re.search(r"unknown field `(.*)`", said, re.DOTALL)
    missing = re.search(r"missing required field `(.*)`", said)
    if unknown:
        return f"{key}has a key {shown(unknown[1])}; it takes {', '.join(keys_of(here, found))}"
    if missing:
        inside = type_at(here, found, missing[1])
        return f"{key}lacks the key {missing[1]!r}, which takes {takes(inside)}"
    return f"{key}takes {takes(here)}, not {shown(found)}"
