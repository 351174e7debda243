"""What becomes of a decision: its reward, a correction of it, its activation or its end."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

import msgspec

from app.decision_log import lines
from app.decisions.errors import Gone, NotKnown, Refused, Unfit
from app.decisions.explain import Explanation, explain
from app.decisions.told import Became, Told, What, activated, cancelled, corrected, retracted, rewarded
from app.decisions.twice import Twice
from app.ledger.ledger import Ledger
from app.ledger.rules import Rules, reads
from app.ledger.transact import transact
from app.messages import decision_ids as ids
from state.update.changes import Change
from state.values.decision import Record

__all__ = ["Outcome", "Outcomes", "Problem", "Told"]

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


# What keeps it from being changed.
Problem = NotKnown | Gone | Refused | Unfit
_Act = Callable[[Ledger, Record], Became]
# The local id of a decision, what is done with it, and what was told of it.
_Telling = tuple[str, _Act, Told]


# Named once: an annotation of a function within a function is made anew with each request.
_Done = Change[tuple[int, list[Outcome | Problem | None]]]


class Outcomes:
    """Changes decisions by `rules`, and has `twice` notice who taught.

    All methods raise NotKnown, Gone, Unfit, Refused, and the store's errors.
    """

    def __init__(self, rules: Rules, twice: Twice | None = None) -> None:
        self._rules = rules
        self._twice = twice or Twice()

    async def reward(self, whole: str, told: Told) -> Outcome:
        """The outcome of a decision, told for the first time or again."""
        return await self._act(whole, partial(rewarded, told=told), told)

    async def tell(self, whole: str, reward: float, part: str | None) -> Outcome:
        """The same, as an event tells it."""
        return await self.reward(whole, Told(reward=reward, part=part))

    async def reward_slots(self, whole: str, told: Mapping[str, Told]) -> list[Outcome | Problem]:
        """The outcomes of some of the slots of a request by their ids, all at once; `whole` is the request's id.

        What keeps one from being accepted is in its place.
        """
        local, _ = named = _named(whole)

        def acts(first: Record) -> list[_Telling]:
            mine = {slot: local if at == 0 else ids.of_slot(local, slot) for at, slot in enumerate(first.slots)}
            return [(mine.get(slot, ""), partial(rewarded, told=each), each) for slot, each in told.items()]

        return await self._all(whole, named, acts, [ids.of_slot(local, slot) for slot in told])

    async def activate_all(self, whole: str) -> list[Outcome | Problem]:
        """A deferred decision was shown, and with it those for all other slots of its request."""
        local, _ = named = _named(whole)

        def acts(first: Record) -> list[_Telling]:
            others = [ids.of_slot(local, slot) for slot in first.slots[1:]]
            return [(one, activated, _NOTHING) for one in (local, *others)]

        return await self._all(whole, named, acts)

    async def correct(self, whole: str, told: Told) -> Outcome:
        """Another reward in place of the one that was told."""
        return await self._act(whole, partial(corrected, told=told), told)

    async def retract(self, whole: str, told: Told) -> Outcome:
        """The reward that was told was none."""
        return await self._act(whole, partial(retracted, told=told), told)

    async def activate(self, whole: str) -> Outcome:
        """A deferred decision was shown."""
        return await self._act(whole, activated)

    async def cancel(self, whole: str) -> Outcome:
        """A decision was never shown: it teaches nothing."""
        return await self._act(whole, lambda _, made: cancelled(made))

    async def read(self, whole: str) -> tuple[Record, Explanation | None]:
        """A decision as it stands, or would stand after what is due, and why it was made; nothing is changed."""
        made = (await self._act(whole, lambda _, made: ("duplicate", made, []), only_look=True)).record
        return made, explain(made, self._rules.policies)

    async def _act(self, whole: str, act: _Act, told: Told = _NOTHING, *, only_look: bool = False) -> Outcome:
        """Do `act` with one decision."""
        named = _named(whole)
        [done] = await self._all(whole, named, lambda _: ((named[0], act, told),), only_look=only_look)
        if isinstance(done, Exception):
            raise done
        return done

    async def _all(
        self,
        whole: str,
        named: tuple[str, str],
        acts: Callable[[Record], Sequence[_Telling]],
        others: Sequence[str] = (),
        *,
        only_look: bool = False,
    ) -> list[Outcome | Problem]:
        """Do what `acts` makes of a decision in one transaction, each on its own; `others` are read too.

        It is the decision with the id `whole`, in which its local id and its user are `named`.
        """
        local, user_id = named

        def do(ledger: Ledger) -> _Done:
            done: list[Outcome | Problem | None] = []
            first = ledger.current(local)
            for telling in () if first is None else acts(first):
                name = telling[0]
                made, one = first if name == local else ledger.current(name) if name else None, None
                if made is not None:
                    own = whole if name == local else ids.decision_id(name, user_id)
                    one = self._one(ledger, own, made, telling, look=only_look)
                done.append(one)
            return Change((ledger.now, done)) if only_look else ledger.change((ledger.now, done))

        # The policies that may learn are read before it is known which ones do, so that no second read is needed.
        likely = self._rules.plans.policies
        wanted = reads(self._rules, user_id, (local, *others), likely if len(likely) <= _FEW else ())
        now, found = await transact(self._rules, user_id, wanted, do)
        if not found:
            raise self._missing(local, now)
        done: list[Outcome | Problem] = []
        for one in found:
            done.append(self._missing("", now) if one is None else one)
            if type(one) is Outcome and not only_look:
                self._rules.observer.became(one.record.loop, one.what)
                if one.what == "applied":
                    self._note(user_id, one.record)
        return done

    def _one(self, ledger: Ledger, whole: str, made: Record, telling: _Telling, *, look: bool) -> "Outcome | Problem":
        local, act, told = telling
        try:
            what, after, skipped = act(ledger, made)
        except (Refused, Unfit) as problem:
            return problem
        if after != made and not look:
            ledger.put(local, made, after, _LOGGED.get(what), reward=told.reward, part=told.part or "")
        return Outcome(whole, what, after, skipped)

    def _note(self, user_id: str, made: Record) -> None:
        learned = [one.policy for one in made.learned]
        for policy in self._twice.note(user_id, learned, "id", (made.rewarded or 0) // 1_000):
            self._rules.observer.taught_twice(policy)

    def _missing(self, local: str, now: int) -> NotKnown | Gone:
        """Why there is no decision with this id at the moment `now` (ms)."""
        moment = ids.made_at(local)
        longest = max((plan.loop.window for plan in self._rules.plans.values()), default=0) * 1_000
        if moment is not None and moment + longest + self._rules.grace <= now:
            return Gone("the decision is too old: nothing is kept of it any more")
        return NotKnown("there is no such decision")


def _named(whole: str) -> tuple[str, str]:
    """The local id and the user id in a decision's id. Raises NotKnown."""
    named = ids.parsed(whole)
    if named is None:
        raise NotKnown("there is no such decision")
    return named
