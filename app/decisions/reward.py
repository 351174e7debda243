"""Reward: learn the outcome of a decision."""

import time
from collections.abc import Callable, Mapping
from typing import Protocol

from app.bandit.context import Context, Fields
from app.bandit.policy import Policy
from app.learning.fit import naming
from app.learning.models import Models
from state import keys
from state.update.changes import Change, Hash, Once, Values
from state.update.changes import Fields as Write
from state.values import record

__all__ = ["Learner", "Observer"]


class Observer(Protocol):
    """Gets every reward."""

    def rewarded(self, policy: str, reward: float, *, replayed: bool) -> None: ...


class Learner:
    """Learns rewards under `policies` into `models`. `clock` gives Unix seconds."""

    def __init__(
        self,
        models: Models,
        policies: Mapping[str, Policy],
        observer: Observer,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._models = models
        self._policies = policies
        self._observer = observer
        self._clock = clock

    async def learn(
        self,
        policy_id: str,
        user_id: str,
        *,
        context: Context,
        features: Fields,
        reward: float,
        once: tuple[str, bytes] | None = None,
    ) -> bool:
        """Learn that a candidate with `features` in `context` earned `reward` (-1..1); True if it was learned before.

        `once` is an idempotency key and the fingerprint of its request. Raises KeyReused if the key had another
        fingerprint, and the store's errors; CorruptState also for a model that cannot be solved.
        """
        policy = self._policies[policy_id]
        key = keys.record(user_id, policy_id)
        now = int(self._clock())
        [x] = policy.see(context, (features,))

        def step(values: Values) -> Change[bool]:
            model = self._models.load(policy, key, values[key])
            with naming(key):
                fields = self._models.learned(policy, model, x, reward, now)
            return Change(result=False, writes=(Write(key, fields),))

        marker = Once(keys.marker(user_id, policy_id, once[0]), once[1], seen=True) if once else None
        replayed = await self._models.update(user_id, (Hash(key, record.FIELDS),), step, once=marker)
        self._observer.rewarded(policy_id, reward, replayed=replayed)
        return replayed
