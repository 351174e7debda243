"""Reward: learn the outcome of a decision."""

import time
from collections.abc import Callable, Mapping
from typing import Protocol

from app.bandit.context import Context, Task
from app.bandit.policy import Policy
from app.decisions.models import load, naming
from state import keys
from state.store import Store
from state.update.changes import Change, Fields, Hash, Once, Values
from state.values import record
from state.values.record import Record

__all__ = ["Learner", "Observer"]


class Observer(Protocol):
    """Gets every reward."""

    def rewarded(self, policy: str, reward: float, *, replayed: bool) -> None: ...


class Learner:
    """Learns rewards under `policies` into the models in `store`. `clock` gives Unix seconds."""

    def __init__(
        self,
        store: Store,
        policies: Mapping[str, Policy],
        observer: Observer,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._policies = policies
        self._observer = observer
        self._clock = clock

    async def learn(
        self,
        policy_id: str,
        user_id: str,
        *,
        context: Context,
        task: Task,
        reward: float,
        once: tuple[str, bytes] | None = None,
    ) -> bool:
        """Learn that `task` in `context` earned `reward` (-1..1); True if `once` shows that it was learned before.

        `once` is an idempotency key and the fingerprint of its request. Raises KeyReused if the key had another
        fingerprint, and the store's errors; CorruptState also for a model that cannot be solved.
        """
        policy = self._policies[policy_id]
        key = keys.record(user_id, policy_id)
        now = int(self._clock())

        def step(values: Values) -> Change[bool]:
            _, model = load(policy, key, values[key])
            with naming(key):
                a, b = policy.learn(model.a, model.b, context, task, reward)
            learned = Record(a, b, model.meta.rewarded(now, reward))
            return Change(result=False, writes=(Fields(key, record.encode(learned)),))

        marker = Once(keys.marker(user_id, policy_id, once[0]), once[1], seen=True) if once else None
        replayed = await self._store.update(user_id, (Hash(key, record.FIELDS),), step, once=marker)
        self._observer.rewarded(policy_id, reward, replayed=replayed)
        return replayed
