"""A policy file for a table, to begin with: a feature for each column, and one model for each label."""

import json
import re
from collections.abc import Collection, Iterator, Sequence
from typing import Final

from app.simulation.delimited import Column

__all__ = ["starter"]

# A text column with more values is hashed into half as many columns.
_MOST_VALUES: Final = 32
_BUCKETS: Final = 16
_LONGEST_NAME: Final = 60
_HEAD: Final = """\
# A policy file for the table: numbers are scaled to 0..1, each text value has a column of its own.

[features]
"""
_POLICIES: Final = """
# "one model per label" is a cross of the label with the columns
[policies.start-linucb]
cross = [["{arm}"], {columns}]
explore = {{ by = "linucb", alpha = 0.2, floor = 0.02 }}

[policies.start-egreedy]
cross = [["{arm}"], {columns}]
explore = {{ by = "epsilon", epsilon = 0.1 }}
"""


def starter(columns: Sequence[Column], labels: Sequence[str], taken: Collection[str]) -> str:
    """The text of the file. No feature has a name that is `taken`, in other letters or not."""
    used = set(taken)
    arm = _name("arm", used)
    lines = [_line(arm, f'of = "candidate", field = "id", kind = "category", values = {_list(labels)}')]
    names = []
    for column in columns:
        if not column.values and not column.low < column.high:
            lines.append(f"# {_quoted(column.name)} has one value in all rows")
            continue
        name = _name(column.name, used)
        names.append(name)
        field = "" if name == column.name else f"field = {_quoted(column.name)}, "
        lines.append(_line(name, f'of = "context", {field}{_kind(column)}'))
    policies = _POLICIES.format(arm=arm, columns=_wrapped(["1", *names]))
    return _HEAD + "".join(f"{line}\n" for line in lines) + policies


def _kind(column: Column) -> str:
    if not column.values:
        return f'kind = "number", min = {column.low!r}, max = {column.high!r}'
    # The name of a value's column has the value in it, which people read, and in which * would mean a product.
    if len(column.values) > _MOST_VALUES or not all(
        value.isprintable() and "*" not in value for value in column.values
    ):
        return f'kind = "hash", buckets = {_BUCKETS}'
    return f'kind = "category", values = {_list(column.values)}'


def _line(name: str, what: str) -> str:
    return f"{name} = {{ {what} }}"


def _name(header: str, used: set[str]) -> str:
    """A name of a feature like that of a column, and unlike all others."""
    plain = re.sub(r"[^A-Za-z0-9_]+", "_", header)[:_LONGEST_NAME].strip("_") or "column"
    plain = f"c{plain}" if plain[0].isdigit() else plain
    name = next(name for name in _numbered(plain) if name not in used)
    used.add(name)
    return name


def _numbered(name: str) -> Iterator[str]:
    yield name
    number = 2
    while True:
        yield f"{name}_{number}"
        number += 1


def _quoted(text: str) -> str:
    """A string of TOML, without anything that controls a terminal."""
    shown = json.dumps(text, ensure_ascii=False)
    return "".join(each if each.isprintable() else f"\\U{ord(each):08x}" for each in shown)


def _list(texts: Sequence[str]) -> str:
    return f"[{', '.join(map(_quoted, texts))}]"


def _wrapped(names: Sequence[str]) -> str:
    """A list, over several lines if it is long."""
    one = _list(names)
    if len(one) <= 90:
        return one
    lines = [""]
    for name in map(_quoted, names):
        if len(lines[-1]) + len(name) > 100:
            lines.append("")
        lines[-1] += f"{name}, "
    return "[\n" + "".join(f"    {line.rstrip()}\n" for line in lines) + "]"
