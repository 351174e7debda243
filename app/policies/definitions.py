"""What a column is made of. A model recognises a column by its label and this definition."""

import hashlib
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import msgspec
from msgspec.structs import asdict

from app.bandit import kinds
from app.bandit.columns import TIMES
from app.bandit.features import CONSTANT, Feature

__all__ = ["definitions"]


def definitions(features: Iterable[Feature], labels: Sequence[str]) -> tuple[str, ...]:
    """For each label of a column of `features`, or of a product, 16 characters that differ when it means another."""
    defined = dict(chain.from_iterable(map(_definitions, features))) | {CONSTANT: CONSTANT}
    return tuple(_digest(TIMES.join(defined[factor] for factor in label.split(TIMES))) for label in labels)


def _definitions(feature: Feature) -> list[tuple[str, str]]:
    """What each column of a feature is made of, in a text that differs when the column means something else.

    A value more in a list changes none of the columns that were there.
    """
    kind: Any = feature.kind
    about = [feature.of, feature.field, type(kind).__name__, feature.default]
    if isinstance(kind, kinds.Category):
        parts: list[object] = list(kind.values)
    elif isinstance(kind, kinds.Bins):
        parts = list(kind.endings)
    else:
        shared = {name: _plain(value) for name, value in asdict(kind).items()}
        parts = [[shared, feature.compared, ending] for ending in kind.endings]
    texts = [msgspec.json.encode([*about, part], order="deterministic").decode() for part in parts]
    if feature.tells_missing:
        texts.append(msgspec.json.encode([*about[:2], "missing"]).decode())
    return list(zip(feature.labels, texts, strict=True))


def _plain(value: object) -> object:
    return sorted(value, key=repr) if isinstance(value, frozenset) else value


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
