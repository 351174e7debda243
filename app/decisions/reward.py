"""Reward: learn the outcome of a decision."""

import time
from collections.abc import Callable

from app.bandit.context import Context, Fields
from app.decisions.twice import Twice
from app.ledger.desk import Desk
from app.ledger.rules import Rules
from app.ledger.telling import first_reward
from app.ledger.transact import touch
from state import keys
from state.update.changes import Change, Once

__all__ = ["Learner"]


class Learner:
    """Learns rewards by `rules`, which `twice` notices. `clock` gives Unix seconds."""

    def __init__(self, rules: Rules, twice: Twice | None = None, *, clock: Callable[[], float] = time.time) -> None:
        self._rules = rules
        self._twice = twice or Twice()
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
        policy = self._rules.policies[policy_id]
        now = int(self._clock())
        base, _ = policy.encoder.encode(context, (features,))
        [x] = policy.columns.of(base)

        def said() -> dict[str, float]:
            return dict(zip(policy.encoder.labels, base[0].tolist(), strict=True))

        def act(desk: Desk) -> "Change[bool]":
            desk.learn(policy, x, reward, desk.seconds(now))
            desk.tell(lambda name: first_reward(name, policy_id, said(), reward, desk.taken().get(policy_id)))
            return desk.change(result=False)

        marker = Once(keys.marker(user_id, policy_id, once[0]), once[1], seen=True) if once else None
        replayed = await touch(self._rules, user_id, policy, act, once=marker)
        self._rules.observer.rewarded(policy_id, reward, replayed=replayed)
        if not replayed and self._twice.note(user_id, (policy_id,), "first", now):
            self._rules.observer.taught_twice(policy_id)
        return replayed
