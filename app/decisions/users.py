"""Users: what is known of one, and how that is forgotten."""

from collections.abc import Mapping

import msgspec

from app.bandit.policy import Policy
from app.decisions.models import load, naming
from state import keys
from state.store import Store
from state.values import history, record
from state.values.history import Entry
from state.values.record import Meta

__all__ = ["Statistics", "Users"]


class Statistics(msgspec.Struct, frozen=True):
    """What a policy has learned about a user; `theta` in the order of the labels of the policy's columns."""

    policy: Policy
    meta: Meta
    theta: list[float]

    @property
    def mean_reward(self) -> float:
        return self.meta.cumulative_reward / self.meta.reward_count if self.meta.reward_count else 0.0

    @property
    def exploration_rate(self) -> float:
        return self.meta.explore_count / self.meta.pulls if self.meta.pulls else 0.0


class Users:
    """What `policies` and `store` know of users. All methods raise the store's errors."""

    def __init__(self, store: Store, policies: Mapping[str, Policy]) -> None:
        self._store = store
        self._policies = policies

    async def statistics(self, policy_id: str, user_id: str) -> Statistics:
        """What a policy has learned about a user; of a user never seen, what it starts from."""
        policy = self._policies[policy_id]
        key = keys.record(user_id, policy_id)
        _, model = load(policy, key, await self._store.read(key, record.FIELDS))
        with naming(key):
            estimate = policy.estimate(model.a, model.b)
        return Statistics(policy, model.meta, estimate.tolist())

    async def history(self, user_id: str) -> list[Entry]:
        """The last decisions for a user under any policy, oldest first."""
        return history.decode(keys.history(user_id), await self._store.history(user_id))

    async def reset(self, user_id: str) -> None:
        """Forget what all policies learned about a user, and the history."""
        models = [keys.record(user_id, policy_id) for policy_id in self._policies]
        await self._store.wipe(user_id, [*models, keys.history(user_id)])

    async def erase(self, user_id: str) -> list[str]:
        """Remove everything there is of a user, idempotency keys and the last sync too; the keys there were.

        A decision or reward that is under way meanwhile is removed as a whole, or counts as one that came later.
        """
        return await self._store.erase(user_id, [keys.of(user_id, kind) for kind in keys.fixed(self._policies)])
