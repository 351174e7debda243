"""How a loop decides: its policies, and the base columns that they share."""

from collections.abc import Callable, Iterator, Mapping

import msgspec

from app.bandit.columns import Columns
from app.bandit.features import Encoder, Feature
from app.bandit.policy import Policy
from app.policies.catalog import Catalog
from app.policies.loop import Loop
from app.policies.unread import Unread

__all__ = ["Plan", "Plans"]


class Plan(msgspec.Struct, frozen=True):
    """A loop with its policies, the champion first, the encoder of all their features, and each one's columns of it.

    `known` are the fields that features read, by where they are. `unread` counts what its decisions bring besides, and
    what they lack.
    """

    loop: Loop
    policies: tuple[Policy, ...]
    encoder: Encoder
    columns: tuple[Columns, ...]
    known: Mapping[str, frozenset[str]]
    unread: Unread

    def unknown(self, of: str, fields: Mapping[str, object]) -> list[str]:
        """The names of fields of the context, the user or a candidate that no feature reads."""
        return sorted(fields.keys() - self.known[of])


class Plans(Mapping[str, Plan]):
    """The plans of the loops in the catalog that `catalog` gives, by name; made anew when it gives another."""

    def __init__(self, catalog: Callable[[], Catalog]) -> None:
        self._catalog = catalog
        self._made_of: Catalog | None = None
        self._plans: dict[str, Plan] = {}
        self._books = False

    def _current(self) -> dict[str, Plan]:
        catalog = self._catalog()
        if catalog is not self._made_of:
            self._plans = {name: _plan(loop, catalog.policies) for name, loop in catalog.loops.items()}
            self._books = any(loop.default_reward is not None for loop in catalog.loops.values())
            self._made_of = catalog
        return self._plans

    @property
    def books(self) -> bool:
        """Whether silence is a reward in any of the loops, so that time alone can change a model."""
        self._current()
        return self._books

    def __getitem__(self, name: str) -> Plan:
        return self._current()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._current())

    def __len__(self) -> int:
        return len(self._current())


def _plan(loop: Loop, rows: Mapping[str, Policy]) -> Plan:
    policies = tuple(rows[name] for name in (loop.champion, *loop.shadows))
    features: dict[str, Feature] = {feature.name: feature for policy in policies for feature in policy.encoder.features}
    encoder = Encoder(features.values())
    known = {of: {each.field for each in features.values() if each.of == of} for of in ("context", "user", "candidate")}
    known["context"] |= {each.compared for each in features.values() if each.compared}
    return Plan(
        loop,
        policies,
        encoder,
        tuple(Columns(policy.labels, encoder.labels) for policy in policies),
        {of: frozenset(fields) for of, fields in known.items()},
        Unread(),
    )
