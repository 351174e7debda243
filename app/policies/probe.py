"""Made-up requests, from which one sees how the columns of a policy are related."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from app.bandit import kinds
from app.bandit.context import Context
from app.bandit.features import Feature
from app.bandit.kinds import Kind
from app.bandit.nested import Nested
from app.bandit.policy import Policy
from app.bandit.ridge import Matrix

__all__ = ["probe"]

# The share of a field's values that are missing.
_MISSING: Final = 0.125
_TEXTS: Final = 1_000


def probe(policy: Policy, n: int, seed: int = 1) -> Matrix:
    """The columns (n x d) of n made-up candidates, each in a context of its own; fields are missing now and then."""
    numbers = np.random.default_rng(seed)
    rows = []
    for _ in range(n):
        said: dict[str, dict[str, object]] = {"context": {}, "user": {}, "candidate": {}}
        for (of, field), features in _fields(policy).items():
            if numbers.random() >= _MISSING:
                said[of][field] = _value(features[int(numbers.integers(len(features)))].kind, numbers)
        rows.append(policy.see(Context(said["context"], said["user"]), [said["candidate"]])[0])
    return np.array(rows)


def _fields(policy: Policy) -> Mapping[tuple[str, str], list[Feature]]:
    """The features that read a field, by the field."""
    fields: dict[tuple[str, str], list[Feature]] = {}
    for feature in policy.encoder.features:
        fields.setdefault((feature.of, feature.field), []).append(feature)
        if feature.compared:
            fields.setdefault(("context", feature.compared), []).append(feature)
    return fields


def _value(kind: Kind, numbers: np.random.Generator) -> object:
    make: Callable[[Any, np.random.Generator], object] = _MAKERS[type(kind)]
    return make(kind, numbers)


def _number(kind: kinds.Number, numbers: np.random.Generator) -> object:
    share = float(numbers.random())
    return kind.low + (kind.high - kind.low) * (share**4 if kind.log else share)


def _member(kind: kinds.Member, numbers: np.random.Generator) -> object:
    values = sorted(kind.values, key=repr)
    return values[int(numbers.integers(len(values)))] if numbers.random() < 0.5 else "another"


def _point(kind: kinds.Cycle | kinds.Alignment, numbers: np.random.Generator) -> object:
    return kind.period * float(numbers.random())


def _range(kind: kinds.Bins, numbers: np.random.Generator) -> object:
    return [kind.edges[0] - 1.0, *kind.edges][int(numbers.integers(len(kind.edges) + 1))]


def _category(kind: kinds.Category, numbers: np.random.Generator) -> object:
    return kind.values[int(numbers.integers(len(kind.values)))]


def _texts(_: kinds.Hash, numbers: np.random.Generator) -> object:
    return [f"text {place}" for place in numbers.integers(_TEXTS, size=int(numbers.integers(1, 4)))]


def _vector(kind: kinds.Vector, numbers: np.random.Generator) -> object:
    return numbers.uniform(-1.0, 1.0, kind.size).tolist()


def _object(_: Nested, numbers: np.random.Generator) -> object:
    return {"number": float(numbers.random()), "texts": _texts(kinds.Hash(2), numbers)}


def _flag(_: kinds.Flag, numbers: np.random.Generator) -> object:
    return bool(numbers.random() < 0.5)


_MAKERS: Final[Mapping[type, Callable[[Any, np.random.Generator], object]]] = {
    kinds.Number: _number,
    kinds.Flag: _flag,
    kinds.Member: _member,
    kinds.Cycle: _point,
    kinds.Alignment: _point,
    kinds.Bins: _range,
    kinds.Category: _category,
    kinds.Hash: _texts,
    kinds.Vector: _vector,
    Nested: _object,
}
