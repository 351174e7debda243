"""From the fields of a request to base columns: the numbers that policies combine, one row for each candidate."""

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from operator import attrgetter, itemgetter
from typing import Any, Final, Literal

import msgspec
import numpy as np
from msgspec.structs import asdict

from app.bandit.context import Context, Fields
from app.bandit.kinds import Alignment, Flag, Kind, Number
from app.bandit.nested import Nested
from app.bandit.ridge import Matrix

__all__ = ["CONSTANT", "Encoder", "Feature", "Said", "fields_of"]

# What is said of a candidate: its fields by name, or a message with them.
Said = Fields | msgspec.Struct
# The label of the column that is always 1; no feature can have this name.
CONSTANT: Final = "1"
_SIMPLE: Final = frozenset((int, float, bool))
# Values of a feature whose columns are kept.
_SEEN: Final = 512
_SHORT: Final = 64


class Feature(msgspec.Struct, frozen=True):
    """A value of a request, and how it becomes columns.

    `of` says where the field `field` is. A value that is missing or cannot be read counts as `default`, which is read
    as a value is (for an alignment it is the column itself); without a default its columns are 0. With `tells_missing`
    one more column is 1 for such a value. `compared` is the context's field that an
    alignment compares with, and a nested object is crossed with.
    """

    name: str
    of: Literal["context", "user", "candidate"]
    field: str
    kind: Kind
    default: object = None
    tells_missing: bool = False
    compared: str = ""

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of its columns."""
        labels = tuple(self.name + ending for ending in self.kind.endings)
        return (*labels, f"{self.name}_missing") if self.tells_missing else labels

    def instead(self) -> tuple[float, ...]:
        """The columns of a value that cannot be read."""
        columns: tuple[float, ...] | None = None
        if isinstance(self.kind, Alignment) and isinstance(self.default, int | float):
            columns = (float(self.default),)
        elif self.default is not None:
            columns = self.kind.columns(self.default)
        return columns or (0.0,) * len(self.kind.endings)


class Encoder:
    """Makes the base columns of `features`: the constant first, then each feature's, in their order."""

    def __init__(self, features: Iterable[Feature]) -> None:
        self.features = tuple(features)
        self.labels = (CONSTANT, *chain.from_iterable(feature.labels for feature in self.features))
        places = _places(self.features)
        self._shared = [_Source(feature, at) for feature, at in places if feature.of != "candidate"]
        own = [(feature, at) for feature, at in places if feature.of == "candidate"]
        simple = [(feature, at) for feature, at in own if _is_simple(feature)]
        self._simple = _Simple(simple) if simple else None
        self._own = [_Source(feature, at) for feature, at in own if not _is_simple(feature)]
        # Whether a candidate may cost a thousand times as much as a number does.
        self.nests = any(isinstance(feature.kind, Nested) for feature, _ in own)

    def encode(self, context: Context, candidates: Sequence[Said]) -> tuple[Matrix, list[str]]:
        """The base columns (k x n, all finite) of k `candidates` in `context`, and the features that could not be read.

        A feature of candidates is named once for each of them that lacks it. The candidates are mappings, or all are
        messages of one type with their fields as attributes.
        """
        missing: list[str] = []
        row = [1.0] + [0.0] * (len(self.labels) - 1)
        moment, user = context.moment, context.user
        for source in self._shared:
            fields = moment if source.of_moment else user
            row[source.at] = source.columns(fields, moment, missing)
        base = np.empty((len(candidates), len(row)))
        base[:] = row
        if self._simple is not None:
            self._simple.fill(base, candidates, missing)
        named = [fields_of(each) for each in candidates] if self._own else []
        for source in self._own:
            base[:, source.at] = source.all(named, moment, missing)
        base += 0.0  # -0.0 becomes 0.0: equal values have equal bits, whoever sent them
        return base, missing


class _Source:
    """A feature, and where its columns are."""

    def __init__(self, feature: Feature, at: slice) -> None:
        self.at = at
        self.of_moment = feature.of == "context"
        self._feature = feature
        self._field, self._compared = feature.field, feature.compared
        none = (0.0,) if feature.tells_missing else ()
        self._instead = feature.instead() + ((1.0,) if feature.tells_missing else ())
        self._known = none
        # Most fields have few values, such as the hours of a day.
        self._seen: dict[object, tuple[float, ...] | None] = {}

    def all(self, candidates: Sequence[Fields], moment: Fields, missing: list[str]) -> list[tuple[float, ...]]:
        """The columns of each of the candidates."""
        kind = self._feature.kind
        if isinstance(kind, Nested):
            found = kind.rows([fields.get(self._field) for fields in candidates], moment.get(self._compared))
            missing += [self._feature.name for each in found if each is None]
            return [self._instead if each is None else each + self._known for each in found]
        return [self.columns(fields, moment, missing) for fields in candidates]

    def columns(self, fields: Fields, moment: Fields, missing: list[str]) -> tuple[float, ...]:
        value: object = fields.get(self._field)
        other = moment.get(self._compared) if self._compared else None
        try:
            found = self._seen[value, other]
        except KeyError:
            found = self._feature.kind.columns(value, other)
            if len(self._seen) >= _SEEN:
                self._seen.clear()
            if type(value) is not str or len(value) <= _SHORT:
                self._seen[value, other] = found
        except TypeError:  # a list
            found = self._feature.kind.columns(value, other)
        if found is None:
            missing.append(self._feature.name)
            return self._instead
        return found + self._known


class _Simple:
    """Numbers and flags of candidates, all at once: they are most of what candidates have."""

    def __init__(self, features: Sequence[tuple[Feature, slice]]) -> None:
        self._features = [feature for feature, _ in features]
        self._fields = [feature.field for feature in self._features]
        self._item, self._attribute = _getters(self._fields)
        starts = [at.start for _, at in features]
        # As a slice they are written in place, without a copy.
        one_run = starts == list(range(starts[0], starts[0] + len(starts)))
        self._at: slice | list[int] = slice(starts[0], starts[0] + len(starts)) if one_run else starts
        bounds = [
            (k.low, k.high) if isinstance(k := feature.kind, Number) else (0.0, 1.0) for feature in self._features
        ]
        self._low, self._high = np.array(bounds).T.copy()
        self._span = self._high - self._low
        self._instead = np.array([feature.instead()[0] for feature in self._features])

    def fill(self, base: Matrix, candidates: Sequence[Said], missing: list[str]) -> None:
        """Write the columns of `candidates` into `base`."""
        count = len(self._fields)
        try:
            get = self._attribute if isinstance(candidates[0], msgspec.Struct) else self._item
            flat = list(chain.from_iterable(map(get, candidates)))
            plain = _SIMPLE.issuperset(map(type, flat)) and math.isfinite(sum(flat))
            x = np.fromiter(flat if plain else (), np.float64).reshape(-1, count)
        except (
            KeyError,
            AttributeError,
            OverflowError,
        ):  # one is missing, or larger than any float
            plain = False
        if not plain:
            self._fill_each(base, list(map(fields_of, candidates)), missing)
            return
        np.minimum(np.maximum(x, self._low, out=x), self._high, out=x)
        x -= self._low
        x /= self._span
        base[:, self._at] = x

    def _fill_each(self, base: Matrix, candidates: Sequence[Fields], missing: list[str]) -> None:
        for row, fields in enumerate(candidates):
            values = []
            for feature, instead in zip(self._features, self._instead.tolist(), strict=True):
                found = feature.kind.columns(fields.get(feature.field))
                if found is None:
                    missing.append(feature.name)
                values.append(instead if found is None else found[0])
            base[row, self._at] = values


def fields_of(candidate: Said) -> Fields:
    """The fields of a candidate by name."""
    return asdict(candidate) if isinstance(candidate, msgspec.Struct) else candidate


def _getters(names: Sequence[str]) -> tuple[Callable[[Any], Iterable[Any]], Callable[[Any], Iterable[Any]]]:
    """What gets the values of these names from a mapping, and from a message."""
    if len(names) > 1:
        return itemgetter(*names), attrgetter(*names)
    [name] = names
    return (lambda fields: (fields[name],)), (lambda message: (getattr(message, name),))


def _places(features: Iterable[Feature]) -> list[tuple[Feature, slice]]:
    at, places = 1, []
    for feature in features:
        places.append((feature, slice(at, at + len(feature.labels))))
        at += len(feature.labels)
    return places


def _is_simple(feature: Feature) -> bool:
    """Whether one clip, one subtraction and one division make its only column."""
    return not feature.tells_missing and (
        isinstance(feature.kind, Flag) or (isinstance(feature.kind, Number) and not feature.kind.log)
    )
