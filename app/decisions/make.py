"""Make a decision that has an id: its policies choose, it is kept, and its outcome can be told by the id later."""

import random
from collections.abc import Sequence
from functools import partial
from typing import cast

import msgspec

from app.bandit.policy import Choice
from app.bandit.sample import SEED_BITS
from app.decision_log.lines import Candidate, Line
from app.decisions.asked import Asked, Conditions, Slot
from app.decisions.choose import Free, Wanted, agrees, chosen, imitate, noted
from app.decisions.errors import Gone
from app.ledger.ledger import Ledger
from app.ledger.room import Crowds, leaves_next, make_room
from app.ledger.rules import Rules, reads
from app.ledger.telling import Name, decided
from app.ledger.transact import transact
from app.messages import decision_ids as ids
from app.policies.plan import Plan
from app.policies.unread import Name as Unknown
from state import keys
from state.errors import KeyReused
from state.update.changes import Asking, Change, List
from state.values.decision import Record

__all__ = ["Made", "Maker"]


class Made(msgspec.Struct, frozen=True):
    """A decision as it is kept, under its id, and whether it had been made before."""

    id: str
    record: Record
    repeated: bool


# Named once: an annotation of a function within a function is made anew with each request.
_Done = Asking[Change[tuple[list[tuple[Made, Choice | None]], bytes | None]]]


class Maker:
    """Makes decisions by `rules`; `chance` gives seeds and ids."""

    def __init__(self, rules: Rules, *, chance: random.Random | None = None) -> None:
        self._rules = rules
        self._chance = chance or random.Random()  # noqa: S311  # exploration needs no secrecy
        self._crowds = Crowds()
        self._versions: dict[str, tuple[Plan, dict[str, str]]] = {}

    async def make(self, asked: Asked, *, conditions: Conditions | None = None, name: str = "") -> Made:
        """Choose one of the candidates for a user, and keep the decision.

        `conditions` are else those of the loop. A client whose ids may be any text has another `name` for it. Raises
        BadDecision, KeyReused if another decision has the same id, and the store's errors.
        """
        [made] = await self._make(asked, (), conditions, name)
        return made

    async def make_slots(
        self, asked: Asked, slots: Sequence[Slot], *, conditions: Conditions | None = None, name: str = ""
    ) -> list[Made]:
        """The same for each of the `slots` in their order, at once: none gets a candidate that another has.

        The first one has the id that was asked for. Raises Gone too, if the request was answered before and some of it
        is not kept any more.
        """
        asked.check_slots(slots)
        return await self._make(asked, slots, conditions, name)

    async def _make(self, asked: Asked, slots: Sequence[Slot], conditions: Conditions | None, name: str) -> list[Made]:
        plan = asked.plan(self._rules.plans)
        agreed = conditions or Conditions.of(plan.loop)
        digest = asked.digest(slots) if asked.local else b""  # an id that the service makes never comes again
        wanted, unread = await self._seen(asked, slots, plan, digest, name)
        salt = self._chance.getrandbits(SEED_BITS)
        user_id, large = asked.user_id, plan.loop.is_large
        # An id that the service makes begins with the time, which is known only within the transaction.
        likely = _local_ids(asked.local or ids.made(0, salt), slots)

        def act(ledger: Ledger) -> _Done:
            locals_ = likely if asked.local else _local_ids(ids.made(ledger.now, salt), slots)
            if asked.local and (before := _made_before(ledger, user_id, locals_, digest)):
                return ledger.change(([(made, None) for made in before], None))
            free = Free([one.allowed for one in wanted]) if slots else None
            done, told = [], []
            for at, (local, one) in enumerate(zip(locals_, wanted, strict=True)):
                make_room(ledger, plan.loop)
                places = one.allowed if free is None else free.of(at)
                made, choice = yield from chosen(ledger, plan, one, places, agreed)
                if free is not None:
                    free.take(made.chosen)
                ledger.add(local, made, large=large)
                kept = Made(ids.decision_id(local, user_id), made, repeated=False)
                ledger.tell(partial(self._line, kept, one.asked, plan, choice), asked.loop)
                if one.slot in agreed.shown:
                    imitate(ledger, plan, made)
                told += noted(ledger, plan, one.asked, made, choice)
                done.append((kept, choice))
            return ledger.change((done, leaves_next(ledger, plan.loop)), *told)

        reading = reads(self._rules, user_id, likely, plan.ids, large=large)
        along = self._crowds.reads(user_id)
        made, first = await transact(self._rules, user_id, (*reading, *along, List(keys.history(user_id))), act)
        self._crowds.note(user_id, first)
        every = []
        for (done, choice), one in zip(made, wanted, strict=True):
            every.append(done)
            if choice is not None:
                self._tell(done.record, choice, plan, unread, set(one.missing))
                if one.slot in agreed.shown:
                    alone = done.record.by_policy[0].propensities
                    plan.unread.note_shown(matched=agrees(done.record, alone))
        return every

    async def _seen(
        self, asked: Asked, slots: Sequence[Slot], plan: Plan, digest: bytes, name: str
    ) -> tuple[list[Wanted], set[Unknown]]:
        """The decisions of a request, checked, and seen by the loop's features; and the fields that none of them reads.

        Raises BadDecision, also if there are not enough candidates for all slots.
        """
        unread: set[Unknown] = set()
        wanted: list[Wanted] = []
        for at, one in enumerate([asked.of_slot(slot) for slot in slots] if slots else [asked]):
            unread |= one.check(plan)
            allowed = one.allowed()
            base, missing = await one.encoded(allowed, plan)
            wanted.append(
                Wanted(
                    asked=one,
                    allowed=allowed,
                    base=base,
                    missing=missing,
                    digest=digest,
                    # Drawn outside the step: when the step runs again after a lost race, it makes the same draws.
                    seed=self._chance.getrandbits(SEED_BITS),
                    name=name,
                    slot=slots[at].id if slots else "",
                    slots=[slot.id for slot in slots] if slots and at == 0 else [],
                )
            )
        if slots:
            Free([one.allowed for one in wanted])  # raises before anything is read
        return wanted, unread

    def _tell(self, made: Record, choice: Choice, plan: Plan, unread: set[Unknown], lacking: set[str]) -> None:
        """Count a decision that was made."""
        observer = self._rules.observer
        observer.decided(made.policy, explored=choice.explored)
        observer.entered(made.loop)
        plan.unread.note(unread, lacking)
        if lacking:
            observer.lacked(made.loop, lacking)

    def _line(self, made: Made, asked: Asked, plan: Plan, choice: Choice, name: Name) -> Line:
        priors = self._rules.priors
        return decided(
            name,
            made.id,
            made.record,
            asked.context,
            cast("list[Candidate]", asked.candidates),  # they have the same two fields, and become the same JSON
            explored=choice.explored,
            versions=self._versions_of(plan),
            priors={policy.id: priors.version(policy) for policy in plan.policies if policy.population},
        )

    def _versions_of(self, plan: Plan) -> dict[str, str]:
        """The versions of the policies of a plan, which are found once."""
        kept, found = self._versions.get(plan.loop.name, (None, {}))
        if kept is not plan:
            found = {policy.id: self._rules.models.version(policy) for policy in plan.policies}
            self._versions[plan.loop.name] = plan, found
        return found


def _local_ids(local: str, slots: Sequence[Slot]) -> list[str]:
    """The local ids of the decisions of a request: the first one has the request's own."""
    return [local, *(ids.of_slot(local, slot.id) for slot in slots[1:])] if slots else [local]


def _made_before(ledger: Ledger, user_id: str, locals_: Sequence[str], digest: bytes) -> list[Made]:
    """What was made of the same request before, if it was. Raises KeyReused and Gone."""
    found = [ledger.current(local) for local in locals_]
    if not any(found):
        return []
    kept = [one for one in found if one is not None]
    if any(one.request != digest for one in kept):
        raise KeyReused(f"the id {locals_[0]} was used before for another decision")
    if len(kept) < len(found):
        raise Gone("the request was answered before, and a part of it is not kept any more")
    return [
        Made(ids.decision_id(local, user_id), one, repeated=True) for local, one in zip(locals_, kept, strict=False)
    ]
