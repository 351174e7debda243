"""The use-cases: score, reward, statistics, history, reset, erase. They know neither HTTP nor NATS.

Each gathers what chance and the clock say, decides in a pure step, and lets the store apply it.
"""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from app.bandit.context import Context, Task
from app.bandit.policy import Policy
from app.bandit.ridge import Singular
from app.bandit.sample import SEED_BITS
from state import history, keys, record
from state.batch import Append, Change, Fields, Hash, List, Once, Remove, Values
from state.errors import CorruptState
from state.history import Entry
from state.record import Meta, Record
from state.store import Store

__all__ = ["Candidate", "Decision", "Decisions", "Observer", "Statistics"]


class Candidate(Protocol):
    """Something that can be suggested."""

    @property
    def id(self) -> str: ...
    @property
    def features(self) -> Task: ...


class Decision(msgspec.Struct, frozen=True):
    """The chosen candidate, its score, and the propensity: the probability with which it was chosen."""

    candidate_id: str
    score: float
    propensity: float
    explored: bool


class Statistics(msgspec.Struct, frozen=True):
    """What a policy has learned about a user; `theta` in the order of the policy's feature labels."""

    policy: Policy
    meta: Meta
    theta: list[float]

    @property
    def mean_reward(self) -> float:
        return self.meta.cumulative_reward / self.meta.reward_count if self.meta.reward_count else 0.0

    @property
    def exploration_rate(self) -> float:
        return self.meta.explore_count / self.meta.pulls if self.meta.pulls else 0.0


class Observer(Protocol):
    """Is told of every decision and reward."""

    def decided(self, policy: str, *, explored: bool) -> None: ...
    def rewarded(self, policy: str, reward: float, *, replayed: bool) -> None: ...


class Decisions:
    """The use-cases over a store. `clock` gives Unix seconds; `chance` is where exploration comes from.

    All of them raise the store's errors, CorruptState among them for a model that cannot be solved.
    """

    def __init__(
        self,
        store: Store,
        policies: Mapping[str, Policy],
        observer: Observer,
        *,
        clock: Callable[[], float] = time.time,
        chance: random.Random | None = None,
    ) -> None:
        self._store = store
        self._policies = policies
        self._observer = observer
        self._clock = clock
        self._chance = chance or random.Random()  # noqa: S311  # exploration needs no secrecy

    async def score(self, policy_id: str, user_id: str, context: Context, candidates: Sequence[Candidate]) -> Decision:
        """Pick one of `candidates` (at least one) for a user, count it, and remember it in the history."""
        policy = self._policies[policy_id]
        key, past = keys.record(user_id, policy_id), keys.history(user_id)
        tasks = [candidate.features for candidate in candidates]
        # Drawn once: a step that runs again after a lost race chooses from the same chance.
        seed = self._chance.getrandbits(SEED_BITS)
        now = int(self._clock())

        def step(values: Values) -> Change[Decision]:
            found, model = _load(policy, key, values[key])
            try:
                choice = policy.decide(model.a, model.b, context, tasks, seed)
            except Singular as error:
                raise CorruptState(key, str(error)) from None
            meta = model.meta.decided(now, explored=choice.explored)
            task = tasks[choice.index]
            decision = Decision(candidates[choice.index].id, choice.score, choice.propensity, choice.explored)
            tells = policy.classic.tells_exploration
            entry = Entry(
                ts=now,
                tip_id=decision.candidate_id,
                score=choice.score,
                hour_of_day=context.hour_of_day,
                is_overdue=task.is_overdue,
                task_age_days=task.task_age_days,
                priority=task.priority,
                policy=policy_id,
                day_of_week=context.day_of_week if tells else None,
                exploring=choice.explored if tells else None,
            )
            fields = record.encode_meta(meta) if found else record.encode(Record(model.a, model.b, meta))
            return Change(decision, (Fields(key, fields), Append(past, history.encode(entry))))

        decision = await self._store.update(user_id, (Hash(key, record.FIELDS), List(past)), step)
        self._observer.decided(policy_id, explored=decision.explored)
        return decision

    async def reward(
        self,
        policy_id: str,
        user_id: str,
        *,
        context: Context,
        task: Task,
        reward: float,
        once: tuple[str, bytes] | None = None,
    ) -> bool:
        """Learn that `task` in `context` earned `reward` (-1..1); True if that was learned before.

        `once` is an idempotency key and what it stands for. Raises KeyReused if it stood for something else.
        """
        policy = self._policies[policy_id]
        key = keys.record(user_id, policy_id)
        now = int(self._clock())

        def step(values: Values) -> Change[bool]:
            _, model = _load(policy, key, values[key])
            try:
                a, b = policy.learn(model.a, model.b, context, task, reward)
            except Singular as error:
                raise CorruptState(key, str(error)) from None
            learned = Record(a, b, model.meta.rewarded(now, reward))
            return Change(result=False, writes=(Fields(key, record.encode(learned)),))

        marker = Once(keys.marker(user_id, policy_id, once[0]), once[1], seen=True) if once else None
        replayed = await self._store.update(user_id, (Hash(key, record.FIELDS),), step, once=marker)
        self._observer.rewarded(policy_id, reward, replayed=replayed)
        return replayed

    async def statistics(self, policy_id: str, user_id: str) -> Statistics:
        """What a policy has learned about a user; of a user never seen, what it starts from."""
        policy = self._policies[policy_id]
        key = keys.record(user_id, policy_id)
        _, model = _load(policy, key, await self._store.read(key, record.FIELDS))
        try:
            estimate = policy.estimate(model.a, model.b)
        except Singular as error:
            raise CorruptState(key, str(error)) from None
        return Statistics(policy, model.meta, estimate.tolist())

    async def history(self, user_id: str) -> list[Entry]:
        """The last decisions for a user under any policy, oldest first."""
        return history.decode(keys.history(user_id), await self._store.history(user_id))

    async def reset(self, user_id: str) -> None:
        """Forget what all policies learned about a user, and the history."""
        await self._store.wipe(user_id, [*self._models(user_id), keys.history(user_id)])

    async def erase(self, user_id: str) -> list[str]:
        """Remove everything there is of a user, idempotency keys and the last synchronisation too; the keys there were.

        A decision or reward that is under way meanwhile is removed as a whole, or counts as one that came later.
        """
        return await self._store.erase(user_id, [keys.of(user_id, kind) for kind in keys.fixed(self._policies)])

    def _models(self, user_id: str) -> list[str]:
        return [keys.record(user_id, policy_id) for policy_id in self._policies]

    async def synced(self, user_id: str, fields: Mapping[str, str], received_at: float) -> bool:
        """Replace what is stored of the user's last task synchronisation by `fields`, unless that is newer.

        `received_at` in Unix seconds. The same arguments again change nothing.
        """
        moment = datetime.fromtimestamp(received_at, UTC)
        order = int(received_at * 1_000_000)

        key = keys.sync(user_id)

        def step(values: Values) -> Change[bool]:
            [stored] = values[key]
            if stored is not None and stored.isdigit() and int(stored) > order:
                return Change(result=False)
            texts = {**fields, "received_at": moment.strftime("%Y-%m-%dT%H:%M:%SZ"), "received_at_us": str(order)}
            written = {name.encode(): text.encode() for name, text in texts.items()}
            return Change(result=True, writes=(Remove(key), Fields(key, written)))

        return await self._store.update(user_id, (Hash(key, (b"received_at_us",)),), step)


def _load(policy: Policy, key: str, values: Sequence[bytes | None]) -> tuple[bool, Record]:
    """The record in `values`, or (False) the one a user starts with."""
    found = record.decode(key, policy.d, values)
    return (True, found) if found else (False, Record(*policy.prior(), Meta()))
