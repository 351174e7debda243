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
# Candidates whose bounds lie row by row: to repeat one row takes numpy twice as long.
_ROWS: Final = 256


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
        moment = [_Source(feature, at) for feature, at in places if feature.of == "context"]
        user = [_Source(feature, at) for feature, at in places if feature.of == "user"]
        self._moment, self._user = [source.field for source in moment], [source.field for source in user]
        self._shared = [*moment, *user]
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
        values = chain(map(moment.get, self._moment), map(user.get, self._user))
        for source, value in zip(self._shared, values, strict=True):
            key = (value, moment.get(source.compared)) if source.compared else value
            try:
                columns = source.seen[key]
            except (KeyError, TypeError):
                columns = source.of(key)
            if columns is None:
                missing.append(source.name)
                columns = source.instead
            row[source.at] = columns
        base = np.empty((len(candidates), len(row)))
        base[:] = row
        if self._simple is not None:
            self._simple.fill(base, candidates, missing)
        named = [fields_of(each) for each in candidates] if self._own else []
        for source in self._own:
            base[:, source.at] = source.all(named, moment, missing)
        return base, missing


class _Source:
    """A feature, and where its columns are."""

    def __init__(self, feature: Feature, at: slice) -> None:
        self.at = at
        self.name, self.field, self.compared = feature.name, feature.field, feature.compared
        self.instead = _unsigned(feature.instead()) + ((1.0,) if feature.tells_missing else ())
        # The columns of a value, or of the two that are compared. Most fields have few values, such as the hours of a
        # day.
        self.seen: dict[object, tuple[float, ...] | None] = {}
        self._kind = feature.kind
        self._known = (0.0,) if feature.tells_missing else ()

    def all(self, candidates: Sequence[Fields], moment: Fields, missing: list[str]) -> list[tuple[float, ...]]:
        """The columns of each of the candidates."""
        values = [fields.get(self.field) for fields in candidates]
        found: list[tuple[float, ...] | None]
        if isinstance(self._kind, Nested):
            rows = self._kind.rows(values, moment.get(self.compared))
            found = [None if each is None else each + self._known for each in rows]
        else:
            other = moment.get(self.compared)
            found = [self.of((value, other) if self.compared else value) for value in values]
        missing += [self.name for each in found if each is None]
        return [self.instead if each is None else each for each in found]

    def of(self, value: Any) -> tuple[float, ...] | None:
        """The columns of a value, or of the two that are compared; None if it cannot be read."""
        try:
            return self.seen[value]
        except KeyError:
            found = self._made(value)
            if len(self.seen) >= _SEEN:
                self.seen.clear()
            text = value[0] if self.compared else value
            if type(text) is not str or len(text) <= _SHORT:
                self.seen[value] = found
            return found
        except TypeError:  # a list
            return self._made(value)

    def _made(self, value: Any) -> tuple[float, ...] | None:
        found = self._kind.columns(*value) if self.compared else self._kind.columns(value)
        return None if found is None else _unsigned(found) + self._known


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
        low, high = np.array(bounds).T
        # To add 0 - low is to subtract low, but for -0.0.
        self._bounds = [np.tile(row, (_ROWS, 1)) for row in (low, high, 0.0 - low, high - low)]
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
        rows = len(x) if len(x) <= _ROWS else 1
        low, high, up, span = [each[:rows] for each in self._bounds]
        np.minimum(np.maximum(x, low, out=x), high, out=x)
        x += up
        x /= span
        base[:, self._at] = x

    def _fill_each(self, base: Matrix, candidates: Sequence[Fields], missing: list[str]) -> None:
        for row, fields in enumerate(candidates):
            values = []
            for feature, instead in zip(self._features, self._instead.tolist(), strict=True):
                found = feature.kind.columns(fields.get(feature.field))
                if found is None:
                    missing.append(feature.name)
                values.append((instead if found is None else found[0]) + 0.0)
            base[row, self._at] = values


def _unsigned(columns: tuple[float, ...]) -> tuple[float, ...]:
    """The columns with 0.0 in place of -0.0, so that equal values have equal bits."""
    return tuple([part + 0.0 for part in columns]) if 0.0 in columns else columns


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
