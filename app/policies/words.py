"""What a key of a policy file takes, in words, from the types in `app.policies.rows`."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from msgspec import inspect

__all__ = ["keys_of", "shown", "takes", "type_at"]

_LONGEST: Final = 60


def shown(value: object) -> str:
    """A value of a TOML file, short and on one line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, int) and abs(value) >= 10**_LONGEST:  # its text may take minutes
        return "a number out of all proportion"
    text = repr(value) if isinstance(value, str | int | float) else str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def takes(type_: inspect.Type) -> str:
    """The values that fit a type."""
    match type_:
        case inspect.UnionType(types=types) if all(isinstance(one, inspect.StructType) for one in types):
            return f"a table with {_tag_field(type_)} = {_either(repr(tag) for tag in _options(type_))}"
        case inspect.UnionType(types=types):
            return _either(takes(one) for one in types if not isinstance(one, inspect.NoneType))
        case inspect.ListType(min_length=least, max_length=most, item_type=item):
            count = "" if most is None else f" of {least or 0:,} to {most:,} items"
            return f"a list{count}, each {takes(item)}"
        case inspect.StructType():
            return f"a table with {', '.join(keys_of(type_))}"
    return _scalar(type_)


def _scalar(type_: inspect.Type) -> str:
    match type_:
        case inspect.LiteralType(values=values):
            return _either(repr(value) for value in values)
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType(ge=low, le=high):
            return f"a whole number{_from_to(low, high)}"
        case inspect.FloatType(ge=low, gt=above, le=high):
            return (
                f"a number above {above:g}, at most {high:,g}"
                if above is not None
                else f"a number{_from_to(low, high)}"
            )
        case inspect.StrType(min_length=least, max_length=most) if most is not None:
            return f"text of {least or 0:,} to {most:,} characters"
    return "text"


def keys_of(type_: inspect.Type, value: object = None) -> list[str]:
    """The keys that a table of this type takes; of several kinds of tables, those of the kind that `value` is."""
    found = _table(type_, value)
    if found is None:
        return []
    tag = [found.tag_field] if found.tag_field else []
    return [*tag, *(field.encode_name for field in found.fields)]


def type_at(type_: inspect.Type, value: object, path: str) -> inspect.Type:
    """The type of what is at `path` of `value`, such as `explore.alpha` or `edges[1]`; `type_` is that of `value`."""
    for name, place in re.findall(r"([^.\[\]]+)|\[(\d+)\]", path):
        whole = type_
        if place and isinstance(found := _of_kind(whole, inspect.ListType), inspect.ListType):
            type_ = found.item_type
        else:
            table = _table(whole, value)
            fields = [field.type for field in table.fields if field.encode_name == name] if table else []
            # The tag is not a field: it says of which kind a table is.
            type_ = fields[0] if fields else inspect.LiteralType(_options(whole))
        value = value[name] if isinstance(value, Mapping) and name in value else None
    return type_


def _of_kind(type_: inspect.Type, kind: type) -> inspect.Type | None:
    """The type itself, or the one of a union, that is of this kind."""
    options = type_.types if isinstance(type_, inspect.UnionType) else (type_,)
    return next((one for one in options if isinstance(one, kind)), None)


def _table(type_: inspect.Type, value: object) -> inspect.StructType | None:
    if isinstance(type_, inspect.StructType):
        return type_
    options: tuple[Any, ...] = type_.types if isinstance(type_, inspect.UnionType) else ()
    chosen = value.get(_tag_field(type_)) if isinstance(value, Mapping) else None
    return next((one for one in options if isinstance(one, inspect.StructType) and one.tag == chosen), None)


def _options(type_: inspect.Type) -> tuple[Any, ...]:
    return tuple(one.tag for one in getattr(type_, "types", (type_,)) if isinstance(one, inspect.StructType))


def _tag_field(type_: inspect.Type) -> str:
    tables = (one for one in getattr(type_, "types", ()) if isinstance(one, inspect.StructType))
    return next((one.tag_field or "" for one in tables), "")


def _from_to(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return ""
    return f" from {_number(low)} to {_number(high)}"


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,g}"


def _either(options: Iterable[object]) -> str:
    *rest, last = dict.fromkeys(map(str, options))
    return f"{', '.join(rest)} or {last}" if rest else last
