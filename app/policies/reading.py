"""From the text of a policy file to its rows, with errors that name table, key, and what it takes."""

import re
import tomllib
from collections.abc import Mapping
from typing import Any, Final, TypeVar, get_args

import msgspec
from msgspec import inspect

from app.policies.rows import AnyFeature, ByExplorer, File, LoopRow, PolicyRow

__all__ = ["BadPolicies", "parse"]

R = TypeVar("R")

_TABLES: Final[Mapping[str, Any]] = {"features": AnyFeature, "policies": PolicyRow, "loops": LoopRow}
_MOST: Final = 256
_NAME: Final = {
    "features": re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}"),
    "policies": re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"),
    "loops": re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"),
}
_NAMED: Final = {
    "features": "a name of 1 to 64 letters, digits and underscores that does not begin with a digit",
    "policies": "a name of 1 to 64 letters, digits, dots, hyphens and underscores",
    "loops": "a name of 1 to 64 letters, digits, hyphens and underscores",
}


class BadPolicies(ValueError):
    """The policy file does not fit. The message is one line that names the table and the key."""


def parse(text: str) -> File:
    """The rows of a policy file. Raises BadPolicies."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadPolicies(f"is not TOML: {error}") from None
    for table in tables:
        if table not in _TABLES:
            raise BadPolicies(f"has a table [{table}]; it takes [features], [policies.NAME] and [loops.NAME]")
    return File(**{table: _rows(table, tables.get(table, {}), row) for table, row in _TABLES.items()})


def _rows(table: str, found: object, row: Any) -> dict[str, Any]:
    if not isinstance(found, dict) or len(found) > _MOST:
        raise BadPolicies(f"[{table}] must be a table of at most {_MOST} names")
    for name in found:
        if not _NAME[table].fullmatch(name):
            raise BadPolicies(f"[{table}] {name!r}: takes {_NAMED[table]}")
    return {name: _row(f"[{table}] {name}", value, row) for name, value in found.items()}


def _row(where: str, value: object, row: type[R]) -> R:
    try:
        return msgspec.convert(value, row)
    except msgspec.ValidationError as error:
        raise BadPolicies(f"{where}: {_plainly(str(error), value, row)}") from None


def _plainly(message: str, value: object, row: Any) -> str:
    """The message of msgspec in the words of a policy file."""
    said, _, path = message.partition(" - at `$")
    key = path.rstrip("`").strip(".")
    unknown = re.search(r"unknown field `(.*)`", said)
    missing = re.search(r"missing required field `(.*)`", said)
    if unknown:
        return f"has a key {unknown[1]!r}{_within(key)}; {_takes(value, row, key)}"
    if missing:
        return f"lacks the key {missing[1]!r}{_within(key)}; {_takes(value, row, key)}"
    said = re.sub(r"`([^`]*)`", _typed, said)
    return f"{key}: {said[0].lower()}{said[1:]}" if key else f"{said[0].lower()}{said[1:]}"


def _within(key: str) -> str:
    return f" in {key}" if key else ""


def _typed(found: re.Match[str]) -> str:
    words = {"str": "text", "float": "a number", "int": "a whole number", "object": "a table", "array": "a list"}
    words |= {"bool": "true or false", "null": "nothing"}
    return " or ".join(dict.fromkeys(words.get(each, each) for each in found[1].split(" | ")))


def _takes(value: object, row: Any, key: str) -> str:
    """The keys that the table at `key` of a row takes."""
    if key == "explore" or not key:
        options = get_args(ByExplorer) if key else get_args(row) or (row,)
        inner = value.get(key) if key and isinstance(value, dict) else value
        for option in options:
            described: Any = inspect.type_info(option)
            chosen = inner.get(described.tag_field) if isinstance(inner, dict) and described.tag_field else None
            if len(options) == 1 or chosen == described.tag:
                names = [field.encode_name for field in described.fields]
                tag = [described.tag_field] if described.tag_field else []
                return f"it takes {', '.join([*tag, *names])}"
        tags = [str(inspect.type_info(option).tag) for option in options]  # type: ignore[attr-defined]
        return f"it is one of {', '.join(tags)}"
    return "see the documentation of this key"
