"""Decide: choose one of the candidates for a user, count the decision and append it to the history."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from app.bandit.context import NOTHING, Context, Fields
from app.bandit.features import Said, fields_of
from app.bandit.policy import Choice, Policy
from app.bandit.sample import SEED_BITS
from app.learning.fit import naming
from app.learning.models import sound
from app.ledger.desk import Desk
from app.ledger.rules import Rules
from app.ledger.telling import first_score
from app.ledger.transact import touch
from state import keys
from state.update.changes import Append, Asking, Change, List, Work
from state.values import history
from state.values.history import Entry

__all__ = ["Candidate", "Choosable", "Decider", "Decision", "Described", "entry_of"]


class Choosable(Protocol):
    """What can be chosen, as a client names and describes it."""

    @property
    def id(self) -> str: ...

    @property
    def features(self) -> Said: ...


class Described(Protocol):
    """The same, described by fields: a struct of these two alone, which digests and the log are made of as it is."""

    @property
    def id(self) -> str: ...

    @property
    def features(self) -> Fields: ...


class Candidate(msgspec.Struct, frozen=True):
    """What can be chosen."""

    id: str
    features: Fields = NOTHING


class Decision(msgspec.Struct, frozen=True):
    """The chosen candidate, its score, its propensity (the probability of the choice), and whether it explored."""

    candidate_id: str
    score: float
    propensity: float
    explored: bool


class Decider:
    """Decides by `rules`. `clock` gives Unix seconds, `chance` the seeds."""

    def __init__(
        self, rules: Rules, *, clock: Callable[[], float] = time.time, chance: random.Random | None = None
    ) -> None:
        self._rules = rules
        self._clock = clock
        self._chance = chance or random.Random()  # noqa: S311  # exploration needs no secrecy

    async def decide(self, policy_id: str, user_id: str, context: Context, candidates: Sequence[Choosable]) -> Decision:
        """Choose one of `candidates` (at least one) for a user, count the decision and append it to the history.

        Raises the store's errors; CorruptState also for a model that cannot be solved.
        """
        policy = self._rules.policies[policy_id]
        past = keys.history(user_id)
        base, _ = policy.encoder.encode(context, [candidate.features for candidate in candidates])
        # Drawn outside the step: when the step runs again after a lost race, it makes the same draws.
        seed = self._chance.getrandbits(SEED_BITS)
        now = int(self._clock())

        def act(desk: Desk) -> "Asking[Change[Decision]]":  # quoted, or each call evaluates it
            model = desk.model(policy)
            [found] = yield [Work(policy.odds_alone, (desk.effective([policy], [model]), base, seed, None))]
            [odds] = sound(found, [model])
            with naming(model.key):
                choice = policy.draw(odds, seed)
            chosen = candidates[choice.index]
            at = desk.seconds(now)
            desk.count(policy, model, model.meta.decided(at, explored=choice.explored))
            desk.tell(lambda name: first_score(name, policy_id, explored=choice.explored))
            entry = entry_of(policy, {**fields_of(chosen.features), **context.moment}, chosen.id, choice, at)
            decision = Decision(chosen.id, choice.score, choice.propensity, choice.explored)
            return desk.change(decision, Append(past, history.encode(entry)))

        decision = await touch(self._rules, user_id, policy, act, more=(List(past),))
        self._rules.observer.decided(policy_id, explored=decision.explored)
        return decision


def entry_of(policy: Policy, said: Mapping[str, Any], chosen: str, choice: Choice, now: int) -> Entry:
    """The entry of a user's history for a decision on tasks, whose fields are in `said`, at `now` (Unix seconds)."""
    tells = policy.classic is not None and policy.classic.tells_exploration
    return Entry(
        ts=now,
        tip_id=chosen,
        score=choice.score,
        hour_of_day=said["hour_of_day"],
        is_overdue=said["is_overdue"],
        task_age_days=said["task_age_days"],
        priority=said["priority"],
        policy=policy.id,
        day_of_week=said["day_of_week"] if tells else None,
        exploring=choice.explored if tells else None,
    )
