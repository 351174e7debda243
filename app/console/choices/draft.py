"""A request to try: an example for a loop, its fields as a form has them, and back. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from app.bandit import kinds
from app.bandit.features import Feature
from app.bandit.nested import Nested
from app.messages.decisions import DecisionRequest
from app.messages.reading import Reader, Unreadable
from app.policies.plan import Plan

__all__ = ["MOST_ROWS", "Field", "as_text", "example", "fields_of", "fits", "request_of", "sweep", "typed", "untyped"]

_CANDIDATES: Final = 4
# Rows of candidates that a form has at most, and fields; a request as JSON may have more.
MOST_ROWS: Final = 12
_FIELDS: Final = 200
_LONGEST_SWEEP: Final = 48
# Levels of a request that stand in lines of their own: each indents all that is in it.
_LEVELS: Final = 8
_ALL_VALUES: Final = 8
# Values that a form lists.
_CHOICES: Final = 32
_OF: Final = ("context", "user")
_read: Final = Reader(DecisionRequest, untyped=float)


class Field(NamedTuple):
    """A field of a form: what it asks for, what is in it, and a hint."""

    name: str
    label: str
    value: str
    hint: str
    choices: tuple[str, ...] = ()


def request_of(raw: Mapping[str, Any], user_id: str, loop: str) -> DecisionRequest:
    """The request that is meant. Raises Unreadable."""
    return _read(msgspec.json.encode({**raw, "user_id": user_id, "loop": loop}))


def typed(text: str) -> dict[str, Any]:
    """The object of JSON in `text`. Raises Unreadable."""
    try:
        found = msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise Unreadable(f"the request is not an object of JSON: {error}") from None
    return found


def as_text(raw: Mapping[str, Any]) -> str:
    """A request as JSON that people can edit; one that is nested deeply stays in one line."""
    text = msgspec.json.encode(raw)
    return (msgspec.json.format(text, indent=2) if _is_flat(raw, _LEVELS) else text).decode()


def _is_flat(value: object, levels: int) -> bool:
    within: Iterable[object] = ()
    if isinstance(value, Mapping | list):
        within = value.values() if isinstance(value, Mapping) else value
    return levels > 0 and all(_is_flat(each, levels - 1) for each in within)


# An example


def example(plan: Plan, hour: int, weekday: int) -> dict[str, Any]:
    """A request that the features of a loop can read, at this hour and day (0 is Monday)."""
    features = plan.encoder.features
    arms = next((f.kind.values for f in features if _is_arm(f) and isinstance(f.kind, kinds.Category)), None)
    names = [str(value) for value in arms[:_ALL_VALUES]] if arms else list("ABCD"[:_CANDIDATES])
    moments = {24.0: hour, 7.0: weekday}
    shared: dict[str, dict[str, Any]] = {of: {} for of in _OF}
    for feature in features:
        if isinstance(feature.kind, kinds.Alignment):
            shared["context"].setdefault(feature.compared, moments.get(feature.kind.period, 0))
        elif feature.compared:
            shared["context"].setdefault(feature.compared, {"device": "phone"})
        if feature.of in shared:
            period = feature.kind.period if isinstance(feature.kind, kinds.Cycle) else 0.0
            shared[feature.of].setdefault(feature.field, moments.get(period, _value(feature, 0, 0)))
    own = [feature for feature in features if feature.of == "candidate" and not _is_arm(feature)]
    candidates = [
        {"id": name, "features": {f.field: _value(f, row, number) for number, f in enumerate(own)}}
        for row, name in enumerate(names)
    ]
    return {**shared, "candidates": candidates}


def _is_arm(feature: Feature) -> bool:
    return feature.of == "candidate" and feature.field == "id"


def _value(feature: Feature, row: int, number: int) -> Any:
    """A value of a feature; from row to row it changes, for each feature (by `number`) in another way."""
    kind, turn = feature.kind, (row * (1 + 2 * (number % 2)) + number) % _CANDIDATES
    part = turn / (_CANDIDATES - 1) if feature.of == "candidate" else 0.5
    match kind:
        case kinds.Number(low=low, high=high):
            value: Any = round(low + part * (high - low), 2)
            value = int(value) if value.is_integer() else value
        case kinds.Flag():
            value = part > 0.5
        case kinds.Cycle(period=period) | kinds.Alignment(period=period):
            value = int(part * period)
        case kinds.Bins(edges=edges):
            value = round(edges[turn % len(edges)])
        case kinds.Category(values=values):
            value = values[row % len(values)]
        case kinds.Member(values=members):
            value = sorted(members, key=str)[turn % len(members)]
        case kinds.Vector(size=size):
            value = [float(place == row % size) for place in range(size)]
        case Nested():
            value = {"topic": f"topic {row + 1}"}
        case _:
            value = f"text {row + 1}"
    return value


def sweep(plan: Plan) -> tuple[str, list[Any]]:
    """The field of the context over which a choice is shown, and its values; none if no field has a few.

    That of a day if there is one, else of another circle, else of values that are listed.
    """
    fields: list[tuple[int, str, list[Any]]] = []
    for feature in plan.encoder.features:
        if feature.of != "context":
            continue
        match feature.kind:
            case kinds.Cycle(period=period) if period.is_integer() and period <= _LONGEST_SWEEP:
                fields.append((0 if period == 24.0 else 1, feature.field, list(range(int(period)))))
            case kinds.Category(values=values):
                fields.append((2, feature.field, list(values[:_LONGEST_SWEEP])))
            case kinds.Flag():
                fields.append((3, feature.field, [False, True]))
    _, field, values_of = min(fields, key=lambda one: one[0], default=(0, "", []))
    return field, values_of


# A form


def fits(raw: Mapping[str, Any], plan: Plan) -> bool:
    """Whether a form can hold all of a request."""
    if not raw.keys() <= {*_OF, "candidates"} or not isinstance(found := raw.get("candidates"), list):
        return False
    each = max(1, sum(feature.of == "candidate" for feature in plan.encoder.features))
    sent = [_object(raw.get(of)) for of in _OF] + [_object(_object(one).get("features")) for one in found]
    return len(found) <= min(MOST_ROWS, _FIELDS // each) and sum(map(len, sent)) <= _FIELDS


def fields_of(raw: Mapping[str, Any], plan: Plan) -> dict[str, list[list[Field]]]:
    """The fields of a form: one row of them for the context, one for the user, and one for each candidate."""
    features = plan.encoder.features
    rows: dict[str, list[list[Field]]] = {}
    for of in _OF:
        rows[of] = [list(_fields(features, of, f"{of}.", _object(raw.get(of))))]
    found = raw.get("candidates")
    candidates = [_object(each) for each in found][:MOST_ROWS] if isinstance(found, list) else []
    rows["candidates"] = []
    for place, each in enumerate(candidates):
        name = Field(f"candidate.{place}.id", "id", str(each.get("id", "")), "empty: not a candidate")
        own = _object(each.get("features"))
        rows["candidates"].append([name, *_fields(features, "candidate", f"candidate.{place}.features.", own)])
    return rows


def untyped(form: Mapping[str, str]) -> dict[str, Any]:
    """The request in the fields of a form; an empty one is absent, and a candidate without an id too."""
    raw: dict[str, Any] = {of: {} for of in _OF}
    candidates: dict[str, dict[str, Any]] = {}
    for name, text in form.items():
        of, _, rest = name.partition(".")
        if of in _OF and rest and text.strip():
            raw[of][rest] = _read_value(text)
        elif of == "candidate":
            place, _, rest = rest.partition(".")
            one = candidates.setdefault(place, {"id": "", "features": {}})
            if rest == "id":
                one["id"] = text.strip()
            elif rest.startswith("features.") and text.strip():
                one["features"][rest.removeprefix("features.")] = _read_value(text)
    return {**raw, "candidates": [each for each in candidates.values() if each["id"]]}


def _fields(features: Sequence[Feature], of: str, start: str, values: Mapping[str, Any]) -> Iterator[Field]:
    """A field for each one that a feature reads, and for each value that no feature does."""
    known: dict[str, Feature] = {}
    for feature in features:
        if feature.of == of and not _is_arm(feature):
            known.setdefault(feature.field, feature)
    for name in [*known, *(name for name in values if name not in known)]:
        told = known.get(name)
        hint, choices = ("no feature reads it", ()) if told is None else _asks(told)
        yield Field(start + name, name, _shown(values.get(name)), hint, choices)


def _asks(feature: Feature) -> tuple[str, tuple[str, ...]]:
    """What a field takes, and the values to choose from."""
    match feature.kind:
        case kinds.Number(low=low, high=high):
            found = f"{low:g} to {high:g}"
        case kinds.Cycle(period=period) | kinds.Alignment(period=period):
            found = f"0 to {period - 1:g}"
        case kinds.Vector(size=size):
            found = f"a list of {size} numbers"
        case Nested():
            found = "an object of JSON"
        case kinds.Hash():
            found = "text, or a list of texts"
        case kinds.Flag():
            return "", ("true", "false")
        case kinds.Category(values=values) if len(values) <= _CHOICES:
            return "", tuple(map(str, values))
        case kinds.Category(values=values):
            found = f"one of {len(values)} values"
        case _:
            found = "a number"
    return found, ()


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _shown(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _read_value(text: str) -> Any:
    """A value as it was typed: JSON if it is some, else the text itself."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return text.strip()
