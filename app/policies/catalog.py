"""The catalog: every policy and loop of this service by name, from the built-in file and the operator's own."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib import resources
from typing import Final

import msgspec
from msgspec.structs import asdict

from app.bandit import kinds
from app.bandit.columns import TIMES, Columns
from app.bandit.explore import EpsilonGreedy, Explorer, InverseGap, Thompson, UpperConfidence
from app.bandit.features import CONSTANT, Encoder, Feature
from app.bandit.policy import Classic, ClassicPolicy, Policy
from app.policies.definitions import definitions
from app.policies.expand import MOST_COLUMNS, columns_of
from app.policies.loop import Loop, made_loop
from app.policies.reading import BadPolicies, parse
from app.policies.rows import (
    AlignmentRow,
    AnyFeature,
    ByEpsilon,
    ByExplorer,
    ByLinucb,
    ByThompson,
    File,
    NestedRow,
    PolicyRow,
)
from app.policies.words import shown
from state import keys

__all__ = ["SIZES", "Catalog", "assembled", "built_in_text", "catalog", "policies"]


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
    return assembled(parse(own), alpha=alpha, epsilon=epsilon)


def assembled(added: File, *, alpha: float, epsilon: float) -> Catalog:
    """As `catalog`, from the rows of the operator's own file."""
    built_in = _built_in()
    for table, there, new in (
        ("features", built_in.features, added.features),
        ("policies", built_in.policies, added.policies),
    ):
        for name, row in new.items():
            if there.get(name, row) != row:
                raise BadPolicies(f"[{table}] {name}: the built-in file has this name already; choose another")
    rows = File(
        features=built_in.features | added.features,
        policies=built_in.policies | added.policies,
        loops=built_in.loops | added.loops,
    )
    for name, policy in added.policies.items():
        if not keys.is_policy(name):
            raise BadPolicies(f"[policies] {name}: this name has another meaning; choose another")
        if name not in built_in.policies and policy.classic is not None:
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
    compared = row.compared or "" if isinstance(row, AlignmentRow | NestedRow) else ""
    told = shown(row.default)
    feature = Feature(name, row.of, row.field or name, kind, row.default, row.missing == "column", compared)
    if isinstance(kind, kinds.Alignment):
        if not isinstance(row.default or 0.0, float) or not 0.0 <= float(feature.instead()[0]) <= 1.0:
            raise BadPolicies(f"[features] {name}: default: takes its column, a number from 0 to 1, not {told}")
    elif row.default is not None and kind.columns(row.default) is None:
        raise BadPolicies(f"[features] {name}: default: takes a value that this feature can read, not {told}")
    return feature


def _labels(features: Mapping[str, Feature]) -> dict[str, tuple[str, ...]]:
    """What a name in a policy's columns stands for: a feature's columns, one column, or the constant."""
    found: dict[str, tuple[str, ...]] = {CONSTANT: (CONSTANT,)}
    for name, feature in features.items():
        found[name] = feature.labels
    for name, feature in features.items():
        for label in feature.labels:
            found.setdefault(label, (label,))
            if label in features and label != name:
                raise BadPolicies(f"[features] {label}: takes another name, since {name} has a column of this name")
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
    wanted = columns_of(name, row, labels)
    factors = {factor for label in wanted for factor in label.split(TIMES)}
    used = [feature for feature in features.values() if factors.intersection(feature.labels)]
    encoder = Encoder(_in_order(used, wanted))
    made = Policy(
        id=name,
        encoder=encoder,
        columns=Columns(wanted, encoder.labels),
        definitions=definitions(used, wanted),
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


# The number of columns that the models of each policy had in the first version; it depends on no setting.
SIZES: Final = {row.id: row.d for row in policies().values()}
