"""How a loop decides: its policies, and the base columns that they share."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from app.bandit.columns import Columns
from app.bandit.context import Context, Fields
from app.bandit.explore import Odds
from app.bandit.features import Encoder, Feature
from app.bandit.policy import Damaged, Policy, Seen, all_odds
from app.bandit.sample import uniform
from app.policies.catalog import Catalog
from app.policies.loop import Loop
from app.policies.unread import Unread
from state.values.loop import Stage, Standing

__all__ = ["Plan", "Plans", "stage_of"]

_NONE: Final[Mapping[str, Standing]] = {}


class Plan(msgspec.Struct, frozen=True):
    """A loop with its policies, the encoder of all their features, and each one's columns of it.

    The policies are the champion, the canary if the `stage` has one, and the shadows. `known` are the fields that
    features read, by where they are. `unread` counts what its decisions bring besides, and what they lack.
    """

    loop: Loop
    stage: Stage
    policies: tuple[Policy, ...]
    ids: tuple[str, ...]
    encoder: Encoder
    columns: tuple[Columns, ...]
    known: Mapping[str, frozenset[str]]
    unread: Unread

    def drawn(self, seed: int) -> int:
        """Which of the policies decides: 1, the canary, for its share of all seeds."""
        canary = self.stage.canary
        return int(canary is not None and uniform(seed, self.loop.name, "arm") < canary.share)

    def odds(self, seen: Sequence[Seen]) -> list[Sequence[Odds] | Damaged]:
        """For each of these decisions the odds of each policy."""
        return all_odds(self.policies, self.columns, seen)

    def mixed(self, alone: Sequence[list[float]]) -> list[float]:
        """The propensities over all chance, from those that each policy `alone` would have given."""
        canary = self.stage.canary
        if canary is None:
            return alone[0]
        rest = 1.0 - canary.share
        return [rest * own + canary.share * other for own, other in zip(alone[0], alone[1], strict=True)]

    def reads_all(self, context: Context, candidates: Iterable[Fields]) -> bool:
        """Whether features read all fields of the context, the user and the candidates, as is usual."""
        known = self.known
        shared = known["context"].issuperset(context.moment) and known["user"].issuperset(context.user)
        return shared and all(map(known["candidate"].issuperset, candidates))

    def unknown(self, of: str, fields: Mapping[str, object]) -> list[str]:
        """The names of fields of the context, the user or a candidate that no feature reads."""
        return sorted(fields.keys() - self.known[of])


class Plans(Mapping[str, Plan]):
    """The plans of the loops in the catalog that `catalog` gives, by name, where `standings` do not say otherwise.

    They are made anew when either gives another.
    """

    def __init__(
        self, catalog: Callable[[], Catalog], standings: Callable[[], Mapping[str, Standing]] = lambda: _NONE
    ) -> None:
        self._catalog = catalog
        self._standings = standings
        self._made_of: tuple[Catalog | None, Mapping[str, Standing]] = None, _NONE
        self._plans: dict[str, Plan] = {}
        self._books = False
        self._policies: tuple[str, ...] = ()

    def _current(self) -> dict[str, Plan]:
        catalog, standings = self._catalog(), self._standings()
        known = catalog is self._made_of[0]
        if not known or standings is not self._made_of[1]:
            counts = {name: plan.unread for name, plan in self._plans.items()} if known else {}
            self._plans = {
                name: _plan(loop, catalog.policies, standings.get(name), counts.get(name) or Unread())
                for name, loop in catalog.loops.items()
            }
            self._books = any(loop.default_reward is not None for loop in catalog.loops.values())
            self._policies = tuple(sorted({policy.id for plan in self._plans.values() for policy in plan.policies}))
            self._made_of = catalog, standings
        return self._plans

    @property
    def books(self) -> bool:
        """Whether silence is a reward in any of the loops, so that time alone can change a model."""
        self._current()
        return self._books

    @property
    def policies(self) -> tuple[str, ...]:
        """The policies that decide in any of the loops, by name."""
        self._current()
        return self._policies

    def __getitem__(self, name: str) -> Plan:
        return self._current()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._current())

    def __len__(self) -> int:
        return len(self._current())


def stage_of(loop: Loop, standing: Standing | None, policies: Mapping[str, Policy]) -> Stage:
    """Who serves a loop: what its state says, or the last former stage whose `policies` are all there; else what the
    file says."""
    for stage in () if standing is None else (standing.now, *standing.former):
        named = (stage.champion,) if stage.canary is None else (stage.champion, stage.canary.policy)
        if all(name in policies for name in named):
            return stage
    return Stage(0, loop.champion)


def _plan(loop: Loop, rows: Mapping[str, Policy], standing: Standing | None, unread: Unread) -> Plan:
    stage = stage_of(loop, standing, rows)
    serving = (stage.champion,) if stage.canary is None else (stage.champion, stage.canary.policy)
    # The file's champion is a shadow where another policy is champion.
    policies = tuple(rows[name] for name in dict.fromkeys((*serving, loop.champion, *loop.shadows)))
    features: dict[str, Feature] = {feature.name: feature for policy in policies for feature in policy.encoder.features}
    encoder = Encoder(features.values())
    known = {of: {each.field for each in features.values() if each.of == of} for of in ("context", "user", "candidate")}
    known["context"] |= {each.compared for each in features.values() if each.compared}
    return Plan(
        loop,
        stage,
        policies,
        tuple(policy.id for policy in policies),
        encoder,
        tuple(Columns(policy.labels, encoder.labels) for policy in policies),
        {of: frozenset(fields) for of, fields in known.items()},
        unread,
    )
