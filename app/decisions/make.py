"""Make a decision that has an id: its policies choose, it is kept, and its outcome can be told by the id later."""

import random
from typing import Any, Final

import msgspec

from app.bandit.kinds import number
from app.bandit.policy import Choice
from app.bandit.ridge import Matrix
from app.bandit.sample import SEED_BITS
from app.decision_log.lines import Line
from app.decisions.asked import Asked
from app.decisions.decide import entry_of
from app.learning.fit import naming
from app.ledger.ledger import Ledger
from app.ledger.room import make_room
from app.ledger.rules import Rules, reads
from app.ledger.telling import Name, decided
from app.ledger.transact import transact
from app.messages import decision_ids as ids
from app.policies.loop import Loop
from app.policies.plan import Plan
from state import keys
from state.errors import KeyReused
from state.update.changes import Append, Change, List, Write
from state.values import history
from state.values.decision import Evidence, Mixed, Record, Shadow, Terms

__all__ = ["Made", "Maker", "decide"]

# What the first system assumed of a task that does not say it, and the range of each number.
_TASK: Final = {"hour_of_day": (12, 0, 23), "day_of_week": (0, 0, 6), "priority": (1, 1, 4)}


class Made(msgspec.Struct, frozen=True):
    """A decision as it is kept, under its id, and whether it had been made before."""

    id: str
    record: Record
    repeated: bool


class Maker:
    """Makes decisions by `rules`; `chance` gives seeds and ids."""

    def __init__(self, rules: Rules, *, chance: random.Random | None = None) -> None:
        self._rules = rules
        self._chance = chance or random.Random()  # noqa: S311  # exploration needs no secrecy

    async def make(self, asked: Asked) -> Made:
        """Choose one of the candidates for a user, and keep the decision.

        Raises BadDecision, KeyReused if another decision has the same id, and the store's errors.
        """
        plan = asked.plan(self._rules.plans)
        unread = asked.check(plan)
        allowed = asked.allowed()
        base, missing = plan.encoder.encode(asked.context, [asked.seen(place) for place in allowed])
        digest = asked.digest()
        # Drawn outside the step: when the step runs again after a lost race, it makes the same draws.
        seed, salt = self._chance.getrandbits(SEED_BITS), self._chance.getrandbits(SEED_BITS)
        user_id = asked.user_id

        def act(ledger: Ledger) -> Change[tuple[Made, Choice | None]]:
            local = asked.local or ids.made(ledger.now, salt)
            whole = ids.decision_id(local, user_id)
            before = ledger.current(local) if asked.local else None
            if before is not None:
                if before.request != digest:
                    raise KeyReused(f"the id {local} was used before for another decision")
                return ledger.change((Made(whole, before, repeated=True), None))
            make_room(ledger, plan.loop)
            made, choice = decide(ledger, plan, asked, base=base, seed=seed, digest=digest)
            ledger.add(local, made)
            ledger.tell(lambda name: self._line(name, local, made, asked, plan, explored=choice.explored), asked.loop)
            return ledger.change((Made(whole, made, repeated=False), choice), *_told(ledger, plan, asked, made, choice))

        wanted = reads(self._rules, user_id, asked.local or "", [policy.id for policy in plan.policies])
        done, choice = await transact(self._rules, user_id, (*wanted, List(keys.history(user_id))), act)
        if choice is not None:
            self._rules.observer.decided(done.record.policy, explored=choice.explored)
            self._rules.observer.entered(done.record.loop)
            lacking = set(missing)
            plan.unread.note(unread, lacking)
            self._rules.observer.lacked(plan.loop.name, lacking)
        return done

    def _line(self, name: Name, local: str, made: Record, asked: Asked, plan: Plan, *, explored: bool) -> Line:
        models, priors, policies = self._rules.models, self._rules.priors, plan.policies
        return decided(
            name,
            local,
            made,
            asked.context,
            [each.features for each in asked.candidates],
            explored=explored,
            excluded=asked.left_out(),
            versions={policy.id: models.version(policy) for policy in policies},
            priors={policy.id: priors.version(policy) for policy in policies if policy.population},
        )


def decide(
    ledger: Ledger, plan: Plan, asked: Asked, *, base: Matrix, seed: int, digest: bytes
) -> tuple[Record, Choice]:
    """The record of the decision that the loop's champion or canary makes, with what each policy would have done.

    `base` are the base columns of the candidates that are allowed.
    """
    allowed, serving = asked.allowed(), plan.drawn(seed)
    alone: list[list[float]] = []
    choice: Choice | None = None
    evidence: Evidence | None = None
    for place, (policy, columns) in enumerate(zip(plan.policies, plan.columns, strict=True)):
        model = ledger.model(policy)
        with naming(keys.record(asked.user_id, policy.id)):
            odds = policy.odds(*ledger.effective(policy, model), columns.of(base), seed)
            if place == serving:
                choice = policy.draw(odds, seed)
                bonus = b"" if odds.bonus is None else odds.bonus.tobytes()
                evidence = Evidence(allowed, base.tobytes(), list(policy.labels), odds.theta.tobytes(), bonus)
                meta = model.meta.decided(ledger.now // 1_000, explored=choice.explored)
                ledger.count(policy, model, meta)
        alone.append(_spread(odds.propensities, allowed, len(asked.candidates)))
    assert choice is not None  # noqa: S101  # one of the policies serves
    canary = plan.stage.canary
    made = Record(
        request=digest,
        loop=plan.loop.name,
        policy=plan.policies[serving].id,
        status="deferred" if asked.deferred else "open",
        born=ledger.user.seq + 1,
        decided=ledger.now,
        deadline=ledger.now + plan.loop.window * 1_000,
        terms=_terms(plan.loop),
        ids=[each.id for each in asked.candidates],
        propensities=plan.mixed(alone),
        chosen=allowed[choice.index],
        score=choice.score,
        seed=seed,
        by_policy=[Shadow(policy.id, shares) for policy, shares in zip(plan.policies, alone, strict=True)],
        labels=list(plan.encoder.labels),
        x=base[choice.index].tolist(),
        evidence=evidence,
        state=plan.stage.number,
        by_canary=serving == 1,
        canary=None if canary is None else Mixed(canary.policy, canary.share),
    )
    return made, choice


def _terms(loop: Loop) -> Terms:
    """What the loop says of rewards now: its file may change before the outcome comes."""
    return Terms(loop.low, loop.high, loop.default_reward, loop.late == "discard", loop.aggregation == "sum")


def _spread(propensities: list[float], allowed: list[int], count: int) -> list[float]:
    """The propensities of all candidates; those that are excluded have none."""
    if len(allowed) == count:
        return propensities
    spread = [0.0] * count
    for place, propensity in zip(allowed, propensities, strict=True):
        spread[place] = propensity
    return spread


def _told(ledger: Ledger, plan: Plan, asked: Asked, made: Record, choice: Choice) -> list[Write]:
    """The entry of the history, for a policy of the first system."""
    served = plan.policies[int(made.by_canary)]
    if served.classic is None:
        return []
    said: dict[str, Any] = {**asked.seen(made.chosen), **asked.context.moment}
    for name, (usual, least, most) in _TASK.items():
        found = number(said.get(name))
        said[name] = usual if found is None else int(min(max(found, least), most))
    said["is_overdue"] = bool(number(said.get("is_overdue")))
    said["task_age_days"] = number(said.get("task_age_days")) or 0.0
    entry = entry_of(served, said, made.ids[made.chosen], choice, ledger.now // 1_000)
    return [Append(keys.history(asked.user_id), history.encode(entry))]
