"""Choose, within a transaction, for each decision of a request: among what others of it leave; its record. Pure."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np

from app.bandit.kinds import number
from app.bandit.policy import Choice, Policy
from app.bandit.ridge import Matrix, Vector
from app.decisions.asked import Asked, Conditions
from app.decisions.decide import entry_of
from app.decisions.errors import BadDecision
from app.learning.fit import naming
from app.learning.models import sound
from app.ledger.ledger import Ledger
from app.ledger.telling import base as nonzero
from app.ledger.telling import first_reward
from app.policies.plan import Plan
from state import keys
from state.update.changes import Append, Asking, Work, Write
from state.values import history
from state.values.decision import Evidence, Mixed, Record, Shadow

__all__ = ["Free", "Wanted", "agrees", "chosen", "imitate", "noted"]

# What the first system assumed of a task that does not say it, and the range of each number.
_TASK: Final = {"hour_of_day": (12, 0, 23), "day_of_week": (0, 0, 6), "priority": (1, 1, 4)}


class Free:
    """The candidates that slots may still take, by place; `allowed` has those of each slot, in the order of the slots.

    Raises BadDecision if not every slot can get one of its own.
    """

    def __init__(self, allowed: Sequence[Sequence[int]]) -> None:
        # Where a slot allows as many candidates as there are slots, the others always leave it one.
        self._tight = [slot for slot, places in enumerate(allowed) if len(places) < len(allowed)]
        self._allowed = {slot: set(allowed[slot]) for slot in self._tight}
        self._order = allowed
        self._every = set().union(*allowed) if self._tight else set()
        self._taken: set[int] = set()
        self._slot_of: dict[int, int] = {}  # by candidate: the slot that would get it, of those that are tight
        for slot in self._tight:
            if not self._find(slot, set()):
                raise BadDecision("slots: there are not enough candidates for all of them")

    def of(self, slot: int) -> list[int]:
        """What the next `slot` may take, so that each one after it still gets one."""
        self._slot_of = {place: one for place, one in self._slot_of.items() if one != slot}
        left = [place for place in self._order[slot] if place not in self._taken]
        later = [one for one in self._tight if one > slot]
        spare = self._spare(later) if later else set(left)
        return [place for place in left if place in spare]

    def take(self, place: int) -> None:
        """Note that the slot took this candidate, one of those that it may take."""
        self._taken.add(place)
        holder = self._slot_of.pop(place, None)
        if holder is not None:
            self._find(holder, set())

    def _spare(self, later: Sequence[int]) -> set[int]:
        """What the `later` slots can do without: what none of them would get, and what one would change for that."""
        spare = self._every - self._slot_of.keys()
        waiting, held = list(later), {slot: place for place, slot in self._slot_of.items()}
        while more := [slot for slot in waiting if self._allowed[slot] & (spare - self._taken)]:
            spare.update(held[slot] for slot in more)
            waiting = [slot for slot in waiting if slot not in more]
        return spare

    def _find(self, slot: int, seen: set[int]) -> bool:
        """Give a slot a candidate, and others of theirs if need be (Kuhn's algorithm); False if there is none."""
        for place in self._order[slot]:
            if place not in seen and place not in self._taken:
                seen.add(place)
                holder = self._slot_of.get(place)
                if holder is None or self._find(holder, seen):
                    self._slot_of[place] = slot
                    return True
        return False


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """One decision of a request: the base columns of the candidates at the places `allowed`, and the features that had
    no value. `digest` is that of the request, and `seed` makes the draws. The others are as in a Record.
    """

    asked: Asked
    allowed: list[int]
    base: Matrix
    missing: Sequence[str]
    digest: bytes
    seed: int
    name: str = ""
    slot: str = ""
    slots: list[str] = []


def chosen(
    ledger: Ledger, plan: Plan, one: Wanted, free: Sequence[int], agreed: Conditions
) -> Asking[tuple[Record, Choice]]:
    """The record of the decision that the loop's champion or canary makes, with what each policy would have done.

    It chooses among the candidates at the places `free`, which are some of those that are allowed.
    """
    asked, seed, serving = one.asked, one.seed, plan.drawn(one.seed)
    fixed = agreed.shown.get(one.slot)
    # What is shown anyhow comes last, since equals are won by the first: to know nothing is not to agree.
    at = list(free) if fixed is None else sorted(free, key=lambda place: asked.candidates[place].id == fixed)
    base = one.base if at == one.allowed else one.base[[one.allowed.index(place) for place in at]]
    shown = None if fixed is None else len(at) - 1
    models = [ledger.model(policy) for policy in plan.policies]
    starts = ledger.effective(plan.policies, models)
    [found] = yield [Work(plan.odds, (starts, base, seed, agreed.floor))]
    every = sound(found, models)
    policy, model, odds = plan.policies[serving], models[serving], every[serving]
    with naming(model.key):
        choice = policy.draw(odds, seed)
    if shown is not None:
        choice = Choice(shown, float(odds.scores[shown]), odds.propensities, explored=False)
    ledger.count(policy, model, model.meta.decided(ledger.now // 1_000, explored=choice.explored))
    alone = [each.propensities for each in every]
    if at != [*range(len(asked.candidates))]:
        alone = [_spread(shares, at, len(asked.candidates)) for shares in alone]
    canary = plan.stage.canary
    made = Record(
        request=one.digest,
        loop=plan.loop.name,
        policy=policy.id,
        status="deferred" if asked.deferred else "open",
        born=ledger.user.seq + 1,
        decided=ledger.now,
        deadline=ledger.now + agreed.window,
        terms=agreed.terms,
        ids=[each.id for each in asked.candidates],
        propensities=plan.mixed(alone) if shown is None else _spread([1.0], [at[shown]], len(asked.candidates)),
        chosen=at[choice.index],
        score=choice.score,
        seed=seed,
        by_policy=list(map(Shadow, plan.ids, alone)),
        labels=list(plan.encoder.labels),
        x=base[choice.index].tolist(),
        evidence=Evidence(
            at,
            base.tobytes(),
            list(policy.labels),
            odds.theta.tobytes(),
            b"" if odds.bonus is None else odds.bonus.tobytes(),
        ),
        state=plan.stage.number,
        by_canary=serving == 1,
        canary=None if canary is None else Mixed(canary.policy, canary.share),
        name=one.name,
        slot=one.slot,
        slots=one.slots,
        untaught=not agreed.teaches,
    )
    return made, choice


def _spread(propensities: list[float], allowed: list[int], count: int) -> list[float]:
    """The propensities of all candidates; those that are excluded have none."""
    spread = [0.0] * count
    for place, propensity in zip(allowed, propensities, strict=True):
        spread[place] = propensity
    return spread


def noted(ledger: Ledger, plan: Plan, asked: Asked, made: Record, choice: Choice) -> list[Write]:
    """The entry of the history, for a policy of the first system."""
    served = plan.policies[int(made.by_canary)]
    if served.classic is None:
        return []
    said: dict[str, Any] = {**asked.candidates[made.chosen].features, **asked.context.moment}
    for name, (usual, least, most) in _TASK.items():
        value = said.get(name)
        if type(value) is int and least <= value <= most:  # as usual
            continue
        found = number(value)
        said[name] = usual if found is None else least if found < least else most if found > most else int(found)
    said["is_overdue"] = bool(number(said.get("is_overdue")))
    said["task_age_days"] = number(said.get("task_age_days")) or 0.0
    entry = entry_of(served, said, made.ids[made.chosen], choice, ledger.now // 1_000)
    return [Append(keys.history(asked.user_id), history.encode(entry))]


def agrees(made: Record, alone: list[float]) -> bool:
    """Whether a policy that gave these propensities `alone` would have chosen what was shown."""
    most = alone[made.chosen]
    return all(share < most for place, share in enumerate(alone) if place != made.chosen)


def imitate(ledger: Ledger, plan: Plan, made: Record) -> None:
    """Have each policy that would have chosen something else learn 1 for what was shown, and 0 for its own choice.

    Those that agree learn nothing: so few updates are enough, and rewards outweigh them soon (Rosenblatt 1958). The log
    has them as rewards without a decision.
    """
    kept = made.evidence
    assert kept is not None  # noqa: S101  # the decision has just been made
    rows = np.frombuffer(kept.base).reshape(len(kept.at), len(made.labels))
    for policy, columns, alone in zip(plan.policies, plan.columns, made.by_policy, strict=True):
        if agrees(made, alone.propensities):
            continue
        own = max((place for place in kept.at if place != made.chosen), key=lambda place: alone.propensities[place])
        for place, reward in ((made.chosen, 1.0), (own, 0.0)):
            row = kept.at.index(place)
            [x] = columns.of(rows[row : row + 1])
            _teach(ledger, policy, x, reward, nonzero(made.labels, rows[row].tolist()))


def _teach(ledger: Ledger, policy: Policy, x: Vector, reward: float, said: dict[str, float]) -> None:
    ledger.learn(policy, x, reward, ledger.now // 1_000)
    ledger.tell(lambda name: first_reward(name, policy.id, said, reward, ledger.taken().get(policy.id)))
