"""How a loop decides: its policies, and the base columns that they share."""

from collections.abc import Mapping

import msgspec

from app.bandit.columns import Columns
from app.bandit.features import Encoder, Feature
from app.bandit.policy import Policy
from app.policies.catalog import Catalog
from app.policies.loop import Loop

__all__ = ["Plan", "plans"]


class Plan(msgspec.Struct, frozen=True):
    """A loop with its policies, the champion first, the encoder of all their features, and each one's columns of it."""

    loop: Loop
    policies: tuple[Policy, ...]
    encoder: Encoder
    columns: tuple[Columns, ...]

    def unknown(self, of: str, fields: Mapping[str, object]) -> list[str]:
        """The names of fields of the context, the user or a candidate that no feature reads."""
        known = {feature.field for feature in self.encoder.features if feature.of == of}
        known |= {feature.compared for feature in self.encoder.features if of == "context"}
        return sorted(fields.keys() - known)


def plans(catalog: Catalog) -> dict[str, Plan]:
    """The plan of each loop by its name."""
    return {name: _plan(loop, catalog.policies) for name, loop in catalog.loops.items()}


def _plan(loop: Loop, rows: Mapping[str, Policy]) -> Plan:
    policies = tuple(rows[name] for name in (loop.champion, *loop.shadows))
    features: dict[str, Feature] = {feature.name: feature for policy in policies for feature in policy.encoder.features}
    encoder = Encoder(features.values())
    return Plan(loop, policies, encoder, tuple(Columns(policy.labels, encoder.labels) for policy in policies))
