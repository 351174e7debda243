"""Users: a user's statistics and history, and how they are reset or erased."""

from collections.abc import Mapping
from functools import partial

import msgspec
import numpy as np

from app.bandit.policy import Policy
from app.bandit.ridge import solve
from app.learning.fit import naming
from app.learning.models import Models
from app.learning.priors import Priors
from app.ledger.telling import last_line
from state import keys
from state.store import Store
from state.values import decision, history
from state.values.decision import Record
from state.values.history import Entry
from state.values.record import Meta

__all__ = ["Learned", "Statistics", "Users"]


class Statistics(msgspec.Struct, frozen=True):
    """What a policy has learned about a user; `theta` is in the order of the policy's labels."""

    policy: Policy
    meta: Meta
    theta: list[float]

    @property
    def mean_reward(self) -> float:
        return self.meta.cumulative_reward / self.meta.reward_count if self.meta.reward_count else 0.0

    @property
    def exploration_rate(self) -> float:
        return self.meta.explore_count / self.meta.pulls if self.meta.pulls else 0.0


class Learned(msgspec.Struct, frozen=True):
    """What a policy has learned about a user: for each of its labels theta, and its standard error sqrt(diag(A⁻¹))."""

    policy: Policy
    meta: Meta
    theta: list[float]
    errors: list[float]


class Users:
    """The users in `store`, with their `models` under `policies`, which start from `priors`; `logs`: there is a log.

    All methods raise the store's errors.
    """

    def __init__(
        self, store: Store, models: Models, policies: Mapping[str, Policy], priors: Priors, *, logs: bool = False
    ) -> None:
        self._store = store
        self._models = models
        self._policies = policies
        self._priors = priors
        self._logs = logs

    async def statistics(self, policy_id: str, user_id: str) -> Statistics:
        """What a policy has learned about a user; for a new user, what it starts with."""
        policy = self._policies[policy_id]
        model = await self._models.read(policy, user_id)
        with naming(keys.record(user_id, policy_id)):
            estimate = policy.estimate(*self._priors.effective(policy, model.a, model.b))
        return Statistics(policy, model.meta, estimate.tolist())

    async def learned(self, user_id: str) -> list[Learned]:
        """What each policy that has a model of the user has learned."""
        found = []
        for policy in list(self._policies.values()):
            # One after the other, so that others are served between two that are solved.
            model = await self._models.read(policy, user_id)
            if model.stored is None:
                continue
            with naming(keys.record(user_id, policy.id)):
                estimate = policy.estimate(model.a, model.b)
                _, errors = solve(model.a, model.b, np.eye(policy.d))
            found.append(Learned(policy, model.meta, estimate.tolist(), errors.tolist()))
        return found

    async def open(self, user_id: str) -> list[tuple[str, Record]]:
        """The decisions for a user that have no outcome, by local id, oldest first.

        As they are kept: a default reward that is due is booked by the next change. Of a user of a large loop they are
        some, those whose window ends first.
        """
        key = keys.decisions(user_id)
        found = {name.decode(): blob for name, blob in (await self._store.decisions(user_id)).items()}
        made = {local: decision.decode(f"{key} {local}", blob) for local, blob in found.items()}
        waiting = [(local, one) for local, one in made.items() if one.status in decision.OPEN]
        return sorted(waiting, key=lambda pair: (pair[1].decided, pair[1].born))

    async def history(self, user_id: str) -> list[Entry]:
        """The last decisions for a user under any policy, oldest first."""
        return history.decode(keys.history(user_id), await self._store.history(user_id))

    async def reset(self, user_id: str) -> None:
        """Remove the models of a user under all policies, the history and the decisions.

        The next decision begins a new epoch.
        """
        models = [keys.record(user_id, policy_id) for policy_id in await self._all_policies()]
        decisions = [keys.shared(user_id), keys.decisions(user_id), keys.agenda(user_id)]
        wiped = [*models, keys.history(user_id), *decisions]
        last = partial(last_line, user_id, "reset") if self._logs else None
        await self._store.wipe(user_id, wiped, last)

    async def erase(self, user_id: str) -> list[str]:
        """Remove every key of a user, idempotency keys and the last sync too; the sorted names of those that existed.

        A decision or reward that comes meanwhile is removed as a whole, or counts as one that came later.
        """
        kinds = keys.fixed(await self._all_policies())
        last = partial(last_line, user_id, "erased") if self._logs else None
        return await self._store.erase(user_id, [keys.of(user_id, kind) for kind in kinds], last=last)

    async def _all_policies(self) -> list[str]:
        """These policies, and those of other replicas or of former files."""
        return list(dict.fromkeys((*self._policies, *await self._store.shared.policies())))
