"""What decisions go by, and what a step about one of them must read."""

from collections.abc import Mapping, Sequence
from typing import Self

import msgspec

from app.bandit.policy import Policy
from app.learning.models import Models
from app.learning.priors import Priors
from app.policies.catalog import Catalog
from app.policies.plan import Plan, Plans
from state import keys
from state.store import Store
from state.update.changes import Agenda, Entry, Hash, Moment, Read, Score
from state.values import record
from state.values.decision import SHARED

__all__ = ["Rules", "reads"]


class Rules(msgspec.Struct, frozen=True):
    """What a ledger goes by: models, policies and loops by name; a record outlives its window by `grace` (ms)."""

    models: Models
    priors: Priors
    policies: Mapping[str, Policy]
    plans: Mapping[str, Plan]
    grace: int

    @classmethod
    def of(cls, store: Store, catalog: Catalog, grace: int) -> Self:
        """The rules of a catalog that does not change, for the users in `store`."""
        models, priors = Models(store, catalog.policies), Priors(store.shared, catalog.policies)
        return cls(models, priors, catalog.policies, Plans(lambda: catalog), grace)

    def due(self, user_id: str) -> Score:
        """When the user's decisions must be looked at, as the index of all users has it."""
        return Score(self.models.due(user_id), user_id.encode())


def reads(rules: Rules, user_id: str, local: str, policies: Sequence[str]) -> tuple[Read, ...]:
    """What a ledger needs for one decision of a user and the models of `policies`."""
    models = (Hash(keys.record(user_id, policy), record.FIELDS) for policy in policies)
    own = Entry(keys.decisions(user_id), local.encode())
    shared, agenda = Hash(keys.shared(user_id), SHARED), Agenda(keys.agenda(user_id))
    return (shared, own, agenda, rules.due(user_id), Moment(), *models)
