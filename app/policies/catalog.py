"""The catalog: every policy and loop of this service by name, from the built-in file and the operator's own."""

import hashlib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib import resources
from itertools import chain
from typing import Any, Final

import msgspec
from msgspec.structs import asdict

from app.bandit import kinds
from app.bandit.columns import TIMES, Columns, crossed
from app.bandit.explore import EpsilonGreedy, Explorer, InverseGap, Thompson, UpperConfidence
from app.bandit.features import CONSTANT, Encoder, Feature
from app.bandit.policy import Classic, ClassicPolicy, Policy
from app.policies.loop import Loop, made_loop
from app.policies.reading import BadPolicies, parse
from app.policies.rows import AlignmentRow, AnyFeature, ByEpsilon, ByExplorer, ByLinucb, ByThompson, File, PolicyRow
from state import keys

__all__ = ["SIZES", "Catalog", "catalog", "policies"]

MOST_COLUMNS: Final = 256


class Catalog(msgspec.Struct, frozen=True):
    """The policies and the loops by name, and the features that they are made of."""

    features: Mapping[str, Feature]
    policies: Mapping[str, Policy]
    loops: Mapping[str, Loop]


def catalog(own: str = "", *, alpha: float = 1.0, epsilon: float = 0.1) -> Catalog:
    """What the built-in file and the text of the operator's `own` say.

    `alpha` and `epsilon` are those of the first system's policies. The own file adds rows, and may have its own loop
    `tips`; features and policies of the built-in file it can only repeat. Raises BadPolicies.
    """
    built_in, added = _built_in(), parse(own)
    for table, there, new in (
        ("features", built_in.features, added.features),
        ("policies", built_in.policies, added.policies),
    ):
        for name in there.keys() & new.keys():
            if there[name] != new[name]:
                raise BadPolicies(f"[{table}] {name}: the built-in file has this name already; choose another")
    rows = File(
        features=built_in.features | added.features,
        policies=built_in.policies | added.policies,
        loops=built_in.loops | added.loops,
    )
    for name in added.policies.keys() - built_in.policies.keys():
        if not keys.is_policy(name):
            raise BadPolicies(f"[policies] {name}: this name has another meaning; choose another")
        if added.policies[name].classic is not None:
            raise BadPolicies(f"[policies] {name}: classic: only policies of the built-in file take it")
    features = {name: _feature(name, row) for name, row in rows.features.items()}
    labels = _labels(features)
    made = {
        name: _policy(name, row, features, labels, alpha=alpha, epsilon=epsilon) for name, row in rows.policies.items()
    }
    loops = {name: made_loop(name, row, made) for name, row in rows.loops.items()}
    return Catalog(features, made, loops)


def policies(alpha: float = 1.0, epsilon: float = 0.1) -> dict[str, ClassicPolicy]:
    """The policies of the first system by id, for LinUCB's `alpha` (>= 0) and epsilon-greedy's `epsilon` (0..1)."""
    rows = catalog(alpha=alpha, epsilon=epsilon).policies
    return {name: row for name, row in rows.items() if isinstance(row, ClassicPolicy)}


@lru_cache(1)
def built_in_text() -> str:
    """The built-in policy file."""
    return resources.files("app.policies").joinpath("built_in.toml").read_text()


@lru_cache(1)
def _built_in() -> File:
    return parse(built_in_text())


def _feature(name: str, row: AnyFeature) -> Feature:
    try:
        kind = row.made()
    except ValueError as error:
        raise BadPolicies(f"[features] {name}: {error}") from None
    compared = row.compared if isinstance(row, AlignmentRow) else ""
    feature = Feature(name, row.of, row.field or name, kind, row.default, row.missing == "column", compared)
    if row.default is not None and not isinstance(kind, kinds.Alignment) and kind.columns(row.default) is None:
        raise BadPolicies(f"[features] {name}: default: {row.default!r} is not a value that this feature can read")
    return feature


def _labels(features: Mapping[str, Feature]) -> dict[str, tuple[str, ...]]:
    """What a name in a policy's columns stands for: a feature's columns, one column, or the constant."""
    found: dict[str, tuple[str, ...]] = {CONSTANT: (CONSTANT,)}
    for name, feature in features.items():
        found[name] = feature.labels
    for name, feature in features.items():
        for label in feature.labels:
            if found.setdefault(label, (label,)) != (label,) or (label in features and label != name):
                raise BadPolicies(f"[features] {name}: its column {label} has the name of another feature")
    return found


def _policy(
    name: str,
    row: PolicyRow,
    features: Mapping[str, Feature],
    labels: Mapping[str, tuple[str, ...]],
    *,
    alpha: float,
    epsilon: float,
) -> Policy:
    wanted = list(dict.fromkeys(chain(*_wanted(name, row, labels))))
    if not wanted:
        raise BadPolicies(f"[policies] {name}: takes columns, or cross, or both")
    if len(wanted) > MOST_COLUMNS:
        raise BadPolicies(f"[policies] {name}: has {len(wanted):,} columns; at most {MOST_COLUMNS} are possible")
    factors = {factor for label in wanted for factor in label.split(TIMES)}
    used = [feature for feature in features.values() if factors.intersection(feature.labels)]
    encoder = Encoder(_in_order(used, wanted))
    defined = dict(chain.from_iterable(_definitions(feature) for feature in used)) | {CONSTANT: CONSTANT}
    made = Policy(
        id=name,
        encoder=encoder,
        columns=Columns(wanted, encoder.labels),
        definitions=tuple(_digest(TIMES.join(defined[factor] for factor in label.split(TIMES))) for label in wanted),
        explorer=_explorer(row.explore),
        forget=row.forget,
        population=row.prior == "population",
        baseline=row.reward_baseline,
    )
    if row.classic is None:
        return made
    fields = asdict(made) | {
        "explorer": UpperConfidence(alpha) if isinstance(made.explorer, UpperConfidence) else EpsilonGreedy(epsilon),
        "classic": Classic(**asdict(row.classic)),
    }
    return ClassicPolicy(**fields)


def _wanted(name: str, row: PolicyRow, labels: Mapping[str, tuple[str, ...]]) -> Iterable[list[str]]:
    def expand(key: str, text: str) -> list[str]:
        factors = [text] if text in labels else text.split(TIMES)
        for factor in factors:
            if factor not in labels:
                raise BadPolicies(f'[policies] {name}: {key}: {factor!r} is neither a feature, nor a column, nor "1"')
        return crossed([labels[factor] for factor in factors])

    for text in row.columns:
        yield expand("columns", text)
    if row.cross:
        yield crossed([list(chain(*(expand("cross", text) for text in each))) for each in row.cross])


def _in_order(used: Iterable[Feature], wanted: Iterable[str]) -> list[Feature]:
    """The features in the order in which the columns use them, so that columns of one factor lie side by side."""
    order = {label: place for place, label in reversed(list(enumerate(wanted)))}
    return sorted(used, key=lambda feature: min(order.get(label, MOST_COLUMNS) for label in feature.labels))


def _explorer(row: ByExplorer) -> Explorer:
    match row:
        case ByEpsilon(epsilon=epsilon):
            return EpsilonGreedy(epsilon)
        case ByLinucb(alpha=alpha, floor=floor):
            return UpperConfidence(alpha, floor)
        case ByThompson(scale=scale, floor=floor):
            return Thompson(scale, floor)
    return InverseGap(row.sharpness)


def _definitions(feature: Feature) -> list[tuple[str, str]]:
    """What each column of a feature is made of, in a text that differs when the column means something else.

    A value more in a list changes none of the columns that were there.
    """
    kind: Any = feature.kind
    about = [feature.of, feature.field, type(kind).__name__, feature.default]
    if isinstance(kind, kinds.Category | kinds.Bins):
        parts: list[object] = list(kind.endings)
    else:
        shared = {name: _plain(value) for name, value in asdict(kind).items()}
        parts = [[shared, feature.compared, ending] for ending in kind.endings]
    texts = [msgspec.json.encode([*about, part], order="deterministic").decode() for part in parts]
    if feature.tells_missing:
        texts.append(msgspec.json.encode([*about[:2], "missing"]).decode())
    return list(zip(feature.labels, texts, strict=True))


def _plain(value: object) -> object:
    return sorted(map(str, value)) if isinstance(value, frozenset) else value


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


# The number of columns that the models of each policy had in the first version; it depends on no setting.
SIZES: Final = {row.id: row.d for row in policies().values()}
