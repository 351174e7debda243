"""The columns that a policy's `columns` and `cross` name."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from app.bandit.columns import TIMES, crossed
from app.policies.reading import BadPolicies
from app.policies.rows import PolicyRow
from app.policies.words import shown

__all__ = ["MOST_COLUMNS", "columns_of"]

MOST_COLUMNS: Final = 256
_MOST_PRODUCTS: Final = MOST_COLUMNS**2
_MOST_FACTORS: Final = 16
_LONGEST_LABEL: Final = 1_024  # characters, as a stored model may have them


def columns_of(name: str, row: PolicyRow, labels: Mapping[str, tuple[str, ...]]) -> list[str]:
    """The label of each column of a policy, once, in order. Raises BadPolicies.

    `labels` says what each name stands for: a feature's columns, one column, or the constant.
    """
    wanted: dict[str, None] = {}
    for key, found in _wanted(name, row, labels):
        wanted |= dict.fromkeys(found)
        if len(wanted) > MOST_COLUMNS:
            raise _too_many(name, key)
        if any(len(label) > _LONGEST_LABEL or label.count(TIMES) >= _MOST_FACTORS for label in found):
            raise BadPolicies(
                f"[policies] {name}: {key}: takes products of at most {_MOST_FACTORS} columns with "
                f"{_LONGEST_LABEL:,} characters in all"
            )
    if not wanted:
        raise BadPolicies(f"[policies] {name}: columns: takes at least one column, here or in cross")
    return list(wanted)


def _wanted(name: str, row: PolicyRow, labels: Mapping[str, tuple[str, ...]]) -> Iterator[tuple[str, list[str]]]:
    """For each text of `columns`, and for `cross`, its key and the labels of its columns."""
    for text in row.columns:
        yield "columns", _products(name, "columns", _factors(name, "columns", text, labels))
    if row.cross:
        yield "cross", _products(name, "cross", [_listed(name, each, labels) for each in row.cross])


def _listed(name: str, texts: Sequence[str], labels: Mapping[str, tuple[str, ...]]) -> list[str]:
    """The labels of the columns in one list of `cross`."""
    found: list[str] = []
    for text in texts:
        found += _products(name, "cross", _factors(name, "cross", text, labels))
        if len(found) > _MOST_PRODUCTS:
            raise _too_many(name, "cross")
    return found


def _factors(name: str, key: str, text: str, labels: Mapping[str, tuple[str, ...]]) -> list[tuple[str, ...]]:
    """For each factor of a product, the labels of the columns that it stands for."""
    factors = [text] if text in labels else text.split(TIMES)
    for factor in factors:
        if factor not in labels:
            raise BadPolicies(
                f'[policies] {name}: {key}: takes features, their columns and "1", and products of them by '
                f"{TIMES}; {shown(factor)} is none"
            )
    return [labels[factor] for factor in factors]


def _products(name: str, key: str, lists: Sequence[Sequence[str]]) -> list[str]:
    # A product may come out more than once, as a*b and b*a do, but not often.
    if math.prod(map(len, lists)) > _MOST_PRODUCTS:
        raise _too_many(name, key)
    return crossed(lists)


def _too_many(name: str, key: str) -> BadPolicies:
    return BadPolicies(f"[policies] {name}: {key}: makes more than {MOST_COLUMNS} columns in all")
