"""What becomes of a decision: its reward, a correction of it, its activation or its end.

A record changes here and nowhere else, by pure functions of the record, the time and what was told.
"""

from collections.abc import Callable, Mapping
from typing import Final, Literal

import msgspec

from app.decision_log import lines
from app.decisions.asked import Told, check_n, check_range, check_shown, part_of, refused, total_of, value_of
from app.decisions.errors import Gone, NotKnown, Refused
from app.decisions.explain import Explanation, explain
from app.decisions.twice import Twice
from app.ledger.ledger import Ledger
from app.ledger.rules import Rules, reads
from app.ledger.transact import transact
from app.messages import decision_ids as ids
from state.update.changes import Change
from state.values.decision import Part, Record

__all__ = ["Outcome", "Outcomes", "Told"]

What = Literal["applied", "duplicate", "corrected", "retracted", "held", "late", "activated", "cancelled"]
# Models that are read before it is known whether they are needed.
_FEW: Final = 8
_NOTHING: Final = Told()
# What the log is told of; a reward that is held is told of when the decision is shown.
_LOGGED: Final[Mapping[What, lines.What]] = {
    "applied": "applied",
    "corrected": "corrected",
    "retracted": "retracted",
    "activated": "activated",
    "cancelled": "cancelled",
}


class Outcome(msgspec.Struct, frozen=True):
    """What became of it, the decision as it is kept now, and the policies that could not learn since they are gone."""

    id: str
    what: What
    record: Record
    skipped: list[str]


_Act = Callable[[Ledger, Record], tuple[What, Record, list[str]]]


class Outcomes:
    """Changes decisions by `rules`, and has `twice` notice who taught.

    All methods raise NotKnown, Gone, Unfit, Refused, and the store's errors.
    """

    def __init__(self, rules: Rules, twice: Twice | None = None) -> None:
        self._rules = rules
        self._twice = twice or Twice()

    async def reward(self, whole: str, told: Told) -> Outcome:
        """The outcome of a decision, told for the first time or again."""
        done = await self._act(whole, lambda ledger, made: _rewarded(ledger, made, told), told)
        if done.what == "applied" and (named := ids.parsed(whole)):
            self._note(named[1], done.record)
        return done

    async def tell(self, whole: str, reward: float, part: str | None) -> Outcome:
        """The same, as an event tells it."""
        return await self.reward(whole, Told(reward=reward, part=part))

    async def correct(self, whole: str, told: Told) -> Outcome:
        """Another reward in place of the one that was told."""
        return await self._act(whole, lambda ledger, made: _corrected(ledger, made, told), told)

    async def retract(self, whole: str, told: Told) -> Outcome:
        """The reward that was told was none."""
        return await self._act(whole, lambda ledger, made: _retracted(ledger, made, told), told)

    async def activate(self, whole: str) -> Outcome:
        """A deferred decision was shown."""
        return await self._act(whole, _activated)

    async def cancel(self, whole: str) -> Outcome:
        """A decision was never shown: it teaches nothing."""
        return await self._act(whole, lambda _, made: _cancelled(made))

    async def read(self, whole: str) -> tuple[Record, Explanation | None]:
        """A decision as it stands, or would stand after what is due, and why it was made; nothing is changed."""
        made = (await self._act(whole, lambda _, made: ("duplicate", made, []), only_look=True)).record
        return made, explain(made, self._rules.policies)

    def _likely(self) -> list[str]:
        """The policies that may learn, so that no second read is needed once the record is known."""
        named = {policy.id for plan in self._rules.plans.values() for policy in plan.policies}
        return sorted(named) if len(named) <= _FEW else []

    async def _act(self, whole: str, act: _Act, told: Told = _NOTHING, *, only_look: bool = False) -> Outcome:
        named = ids.parsed(whole)
        if named is None:
            raise NotKnown("there is no such decision")
        local, user_id = named

        def do(ledger: Ledger) -> Change[Outcome | Refused | int]:
            made = ledger.current(local)
            if made is None:
                return Change(ledger.now) if only_look else ledger.change(ledger.now)
            try:
                what, after, skipped = act(ledger, made)
            except Refused as refused:
                return ledger.change(refused)
            if only_look:
                return Change(Outcome(whole, what, after, skipped))
            if after != made:
                ledger.put(local, made, after, _LOGGED.get(what), reward=told.reward, part=told.part or "")
            return ledger.change(Outcome(whole, what, after, skipped))

        found = await transact(self._rules, user_id, reads(self._rules, user_id, local, self._likely()), do)
        if isinstance(found, int):
            raise self._missing(local, found)
        if isinstance(found, Refused):
            raise found
        if not only_look:
            self._rules.observer.became(found.record.loop, found.what)
        return found

    def _note(self, user_id: str, made: Record) -> None:
        for learned in made.learned:
            if self._twice.note(user_id, learned.policy, "id", (made.rewarded or 0) // 1_000):
                self._rules.observer.taught_twice(learned.policy)

    def _missing(self, local: str, now: int) -> NotKnown | Gone:
        """Why there is no decision with this id at the moment `now` (ms)."""
        moment = ids.made_at(local)
        longest = max((plan.loop.window for plan in self._rules.plans.values()), default=0) * 1_000
        if moment is not None and moment + longest + self._rules.grace <= now:
            return Gone("the decision is too old: nothing is kept of it any more")
        return NotKnown("there is no such decision")


def _rewarded(ledger: Ledger, made: Record, told: Told) -> tuple[What, Record, list[str]]:
    value = value_of(told)
    name = part_of(made, told)
    known = made.parts.get(name)
    # Before anything else: what was accepted once is accepted whenever it comes again.
    if known is not None and known.first == value:
        return "duplicate", made, []
    check_range(made, name, value)
    if known is not None:
        raise refused("another reward was told before; PUT corrects it", made)
    check_shown(made)
    late = ledger.now >= made.deadline
    if late and made.terms.discards:
        return "late", made, []
    what: What = "corrected" if made.status == "defaulted" else "applied"
    return _stand(ledger, made, {name: Part(value, value)}, what, late=late)


def _corrected(ledger: Ledger, made: Record, told: Told) -> tuple[What, Record, list[str]]:
    value = value_of(told)
    name = part_of(made, told)
    known = made.parts.get(name)
    check_shown(made)
    # Before `if_n`: a client that did not get the answer repeats what it sent.
    if known is not None and known.value == value:
        return "duplicate", made, []
    check_range(made, name, value)
    check_n(made, told)
    if known is not None:
        return _stand(ledger, made, {name: Part(known.first, value)}, "corrected", late=made.late)
    if made.status != "defaulted":
        raise refused("there is no reward to correct", made)
    late = ledger.now >= made.deadline
    if late and made.terms.discards:
        return "late", made, []
    return _stand(ledger, made, {name: Part(value, value)}, "corrected", late=late)


def _retracted(ledger: Ledger, made: Record, told: Told) -> tuple[What, Record, list[str]]:
    name = part_of(made, told)
    known = made.parts.get(name)
    check_shown(made)
    if known is not None and known.value is None:
        return "duplicate", made, []
    check_range(made, name, None)
    check_n(made, told)
    if known is None:
        raise refused("there is no reward to take back", made)
    return _stand(ledger, made, {name: Part(known.first, None)}, "retracted", late=made.late)


def _activated(ledger: Ledger, made: Record) -> tuple[What, Record, list[str]]:
    check_shown(made)
    if made.status != "deferred":
        return "duplicate", made, []
    shown = msgspec.structs.replace(made, status="retracted" if made.parts else "open", held=None)
    return ("activated", shown, []) if made.held is None else _stand(ledger, shown, {}, "activated", late=False)


def _cancelled(made: Record) -> tuple[What, Record, list[str]]:
    if made.status in ("cancelled", "void"):
        return "duplicate", made, []
    if made.status not in ("open", "deferred"):
        raise refused("the decision has an outcome already", made)
    return "cancelled", msgspec.structs.replace(made, status="cancelled", held=None, n=made.n + 1), []


def _stand(
    ledger: Ledger, made: Record, changed: dict[str, Part], what: What, *, late: bool
) -> tuple[What, Record, list[str]]:
    """The record in which the `changed` parts stand: held until the decision is shown, or learned."""
    parts = {**made.parts, **changed}
    total = total_of(parts)
    skipped: list[str] = []
    after = msgspec.structs.replace(made, parts=parts, n=made.n + 1)
    if made.status == "deferred":
        return ("retracted" if what == "retracted" else "held"), msgspec.structs.replace(after, held=total), []
    if made.reward is not None:
        after, skipped = ledger.correct(after, total)
    elif total is not None:
        after, skipped = ledger.teach(after, total, ledger.now // 1_000)
    status: Literal["rewarded", "retracted"] = "retracted" if total is None else "rewarded"
    moment = ledger.now if what != "retracted" else made.rewarded
    return what, msgspec.structs.replace(after, status=status, rewarded=moment, late=late), skipped
