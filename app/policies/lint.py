"""What may be wrong with policies and loops that are well-formed, in sentences for their author."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Final

import numpy as np

from app.bandit.columns import TIMES
from app.bandit.explore import InverseGap
from app.bandit.features import CONSTANT, Feature
from app.bandit.kinds import Alignment, Hash
from app.bandit.nested import Nested
from app.bandit.policy import Policy
from app.bandit.ridge import Matrix
from app.policies.loop import Loop
from app.policies.probe import probe

__all__ = ["is_certain", "lint", "lint_features", "lint_loop"]

_NAMED: Final = 4
_FEW_BUCKETS: Final = 16
_MANY_COLUMNS: Final = 64
# More requests than a policy can have columns, so that columns are not related by chance.
_PROBES: Final = 640
_ROUNDING: Final = 1e-9
_ALIKE: Final = 0.85


def lint(policy: Policy, rows: Matrix | None = None, rewards: float | None = None) -> list[str]:
    """What may be wrong with a policy. `rows` (n x d) are columns that were seen, else made-up ones are looked at;
    `rewards` is how many a user gives."""
    seen = probe(policy, _PROBES) if rows is None else rows
    return [
        *_choices(policy),
        *_exploration(policy),
        *_size(policy, rewards),
        *_relations(policy, seen, made_up=rows is None),
    ]


def lint_loop(loop: Loop, policies: Mapping[str, Policy]) -> list[str]:
    """What may be wrong with a loop."""
    found = []
    if not loop.shadows:
        found.append("has no shadows: nothing is learned about other policies")
    if is_certain(policies[loop.champion]):
        found.append(f"its champion {loop.champion} has no floor: other policies cannot be judged by its decisions")
    return found


def lint_features(features: Mapping[str, Feature], policies: Iterable[Policy]) -> list[str]:
    """What may be wrong with the features of a file."""
    used = {feature.name for policy in policies for feature in policy.encoder.features}
    found = [f"{name}: no policy uses it" for name in features if name not in used]
    fields: dict[str, dict[str, str]] = {"context": {}, "user": {}, "candidate": {}}
    for name, feature in features.items():
        there = fields[feature.of]
        alike = get_close_matches(feature.field, there.keys() - {feature.field}, 1, _ALIKE)
        if alike:
            found.append(f"{name}: the field {feature.field!r} is nearly {alike[0]!r}, which {there[alike[0]]} reads")
        there.setdefault(feature.field, name)
    for name, feature in features.items():
        if isinstance(feature.kind, Alignment) and feature.compared not in fields["context"]:
            found.append(f"{name}: with = {feature.compared!r}: no feature of the context reads this field")
    return found


def _choices(policy: Policy) -> Iterator[str]:
    own = {label for each in policy.encoder.features if each.of == "candidate" for label in each.labels}
    shared = [label for label in policy.labels if own.isdisjoint(label.split(TIMES))]
    if len(shared) == policy.d:
        yield "cannot choose: every column is the same for all candidates"
    elif others := [label for label in shared if label != CONSTANT]:
        yield f"{_some(others)}: the same for all candidates: {_they(others)} up noise, and cannot change a choice"
    if CONSTANT not in policy.labels and policy.classic is None:
        yield 'has no constant: with "1" among the columns the others need not explain the mean reward'


def _exploration(policy: Policy) -> Iterator[str]:
    if is_certain(policy):
        yield "has no floor: most candidates get the propensity 0, and estimates from its decisions will be refused"


def is_certain(policy: Policy) -> bool:
    """Whether a policy has no floor: it gives most candidates no chance, so its decisions tell little of others."""
    return policy.explorer.floor == 0.0 and not isinstance(policy.explorer, InverseGap)


def _size(policy: Policy, rewards: float | None) -> Iterator[str]:
    for feature in policy.encoder.features:
        if isinstance(feature.kind, Hash | Nested) and feature.kind.buckets < _FEW_BUCKETS:
            yield (
                f"{feature.name}: {feature.kind.buckets} buckets are few: texts that share one are taken for each "
                "other; take 4 for each text that a request has"
            )
    if rewards is not None and policy.d > rewards:
        yield f"has {policy.d} columns, and a user gives {rewards:,.0f} rewards: fewer columns learn sooner"
    elif rewards is None and policy.d > _MANY_COLUMNS and not policy.population:
        yield f'has {policy.d} columns: users with fewer rewards learn little; prior = "population" helps them'


def _relations(policy: Policy, seen: Matrix, *, made_up: bool) -> Iterator[str]:
    labels = policy.labels
    if len(seen) < 2:
        return
    beyond = [label for label, column in zip(labels, seen.T, strict=True) if np.abs(column).max(initial=0.0) > 1.0]
    if beyond:
        yield f"{_some(beyond)}: beyond -1 to 1"
    still = [label for label, column in zip(labels, seen.T, strict=True) if label != CONSTANT and np.ptp(column) == 0.0]
    if still:
        yield f"{_some(still)}: {'can never vary' if made_up else 'never varied'}"
    kept: list[int] = []
    basis = np.empty((0, len(seen)))
    for place, column in enumerate(seen.T):
        if labels[place] in still:
            continue
        twin = next((labels[other] for other in kept if np.array_equal(seen[:, other], column)), None)
        rest = column - basis.T @ (basis @ column)
        rest -= basis.T @ (basis @ rest)
        length = np.linalg.norm(rest)
        if twin is not None:
            yield f"{labels[place]}: always equal to {twin}"
        elif length <= _ROUNDING * np.linalg.norm(column):
            yield f"{labels[place]}: follows from the columns before it"
        else:
            kept.append(place)
            basis = np.vstack([basis, rest / length])


def _some(labels: Sequence[str]) -> str:
    more = len(labels) - _NAMED
    return ", ".join(labels[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _they(labels: Sequence[str]) -> str:
    return "it takes" if len(labels) == 1 else "they take"
