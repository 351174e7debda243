"""What becomes of a decision: its reward, a correction of it, its activation or its end.

A record changes here and nowhere else, by pure functions of the record, the time and what was told.
"""

from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec

from app.decisions import ids
from app.decisions.errors import Gone, NotKnown, Refused, Unfit
from app.decisions.explain import Explanation, explain
from app.decisions.ledger import Ledger, Rules, reads
from app.policies.loop import Loop
from state.update.changes import Change, Values
from state.values.decision import Record

__all__ = ["Outcome", "Outcomes", "Told"]

What = Literal["applied", "duplicate", "corrected", "retracted", "held", "late", "activated", "cancelled"]
_MOST_PARTS: Final = 64


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What a client says of a decision: a reward, unless it takes one back; `part` is that of a sum.

    With `if_n` it only counts if the last outcome was that one.
    """

    reward: float | None = None
    part: str | None = None
    if_n: int | None = None


class Outcome(msgspec.Struct, frozen=True):
    """What became of it, the decision as it is kept now, and the policies that could not learn since they are gone."""

    id: str
    what: What
    record: Record
    skipped: list[str]


_Act = Callable[[Ledger, Record, Loop | None], tuple[What, Record, list[str]]]


class Outcomes:
    """Changes decisions by `rules`. All methods raise NotKnown, Gone, Unfit, Refused, and the store's errors."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    async def reward(self, whole: str, told: Told) -> Outcome:
        """The outcome of a decision, told for the first time or again."""
        return await self._act(whole, lambda ledger, made, loop: _rewarded(ledger, made, loop, told))

    async def correct(self, whole: str, told: Told) -> Outcome:
        """Another reward in place of the one that was told."""
        return await self._act(whole, lambda ledger, made, loop: _corrected(ledger, made, loop, told))

    async def retract(self, whole: str, told: Told) -> Outcome:
        """The reward that was told was none."""
        return await self._act(whole, lambda ledger, made, _: _retracted(ledger, made, told))

    async def activate(self, whole: str) -> Outcome:
        """A deferred decision was shown."""
        return await self._act(whole, lambda ledger, made, _: _activated(ledger, made))

    async def cancel(self, whole: str) -> Outcome:
        """A decision was never shown: it teaches nothing."""
        return await self._act(whole, lambda _, made, __: _cancelled(made))

    async def read(self, whole: str) -> tuple[Record, Explanation | None]:
        """A decision as it stands, or would stand after what is due, and why it was made; nothing is changed."""
        made = (await self._act(whole, lambda _, made, __: ("duplicate", made, []), only_look=True)).record
        return made, explain(made, self._rules.policies)

    async def _act(self, whole: str, act: _Act, *, only_look: bool = False) -> Outcome:
        named = ids.parsed(whole)
        if named is None:
            raise NotKnown("there is no such decision")
        local, user_id = named

        def step(values: Values) -> Change[Any]:
            ledger = Ledger(self._rules, user_id, values, b"")
            ledger.settle()
            made = ledger.current(local)
            if made is None:
                return ledger.change(ledger.now)
            plan = self._rules.plans.get(made.loop)
            try:
                what, after, skipped = act(ledger, made, plan.loop if plan else None)
            except Refused as refused:
                return ledger.change(refused)
            if only_look:
                return Change(Outcome(whole, what, after, skipped))
            if after != made:
                ledger.put(local, made, after)
            return ledger.change(Outcome(whole, what, after, skipped))

        found: Outcome | Refused | int = await self._rules.models.update(
            user_id, reads(self._rules, user_id, local, ()), step
        )
        if isinstance(found, Outcome):
            return found
        if isinstance(found, Refused):
            raise found
        moment = ids.made_at(local)
        longest = max((plan.loop.window for plan in self._rules.plans.values()), default=0) * 1_000
        if moment is not None and moment + longest + self._rules.grace < found:
            raise Gone("the decision is too old: nothing is kept of it any more")
        raise NotKnown("there is no such decision")


def _rewarded(ledger: Ledger, made: Record, loop: Loop | None, told: Told) -> tuple[What, Record, list[str]]:
    value = _fit(made, loop, told)
    if told.part is not None:
        if (known := made.parts.get(told.part)) is not None:
            if known == value:
                return "duplicate", made, []
            raise _refused(f"the part {told.part!r} has another value already; PUT corrects it", made)
    elif made.first is not None:
        if made.first == value:
            return "duplicate", made, []
        raise _refused("another reward was told before; PUT corrects it", made)
    late = ledger.now > made.deadline
    _check_shown(made, late=late)
    if made.status == "deferred":
        return "held", _told(made, told, value, held=_total(made, told, value)), []
    if late and (loop is None or loop.late == "discard"):
        return "late", made, []
    return _learn(ledger, _told(made, told, value), _total(made, told, value), late=late)


def _corrected(ledger: Ledger, made: Record, loop: Loop | None, told: Told) -> tuple[What, Record, list[str]]:
    value = _fit(made, loop, told)
    _check_n(made, told)
    late = ledger.now > made.deadline
    _check_shown(made, late=late)
    if told.part is not None and told.part not in made.parts:
        raise _refused(f"there is no part {told.part!r} to correct", made)
    if made.status == "deferred" and made.held is not None:
        if made.held == _total(made, told, value):
            return "duplicate", made, []
        return "held", _told(made, told, value, held=_total(made, told, value)), []
    if made.status not in ("rewarded", "retracted", "defaulted"):
        raise _refused("there is no reward to correct", made)
    if made.status == "defaulted" and (loop is None or loop.late == "discard"):
        return "late", made, []
    if made.status == "rewarded" and made.reward == _total(made, told, value):
        return "duplicate", made, []
    what, after, skipped = _learn(ledger, _told(made, told, value), _total(made, told, value), late=made.late)
    return "corrected" if what == "applied" else what, after, skipped


def _retracted(ledger: Ledger, made: Record, told: Told) -> tuple[What, Record, list[str]]:
    _check_n(made, told)
    if made.parts and told.part is None:
        raise Unfit("part: the reward is a sum, so one of its parts must be named")
    if told.part is not None:
        if told.part not in made.parts:
            raise _refused(f"there is no part {told.part!r} to take back", made)
        parts = {name: value for name, value in made.parts.items() if name != told.part}
        if parts and made.status == "rewarded":
            after, skipped = ledger.correct(made, sum(parts.values()))
            return "retracted", msgspec.structs.replace(after, parts=parts, n=made.n + 1), skipped
        made = msgspec.structs.replace(made, parts=parts)
    if made.held is not None:
        return "retracted", msgspec.structs.replace(made, held=None, n=made.n + 1), []
    if made.status == "retracted":
        return "duplicate", made, []
    if made.status != "rewarded":
        raise _refused("there is no reward to take back", made)
    after, skipped = ledger.correct(made, None)
    return "retracted", msgspec.structs.replace(after, status="retracted", n=made.n + 1), skipped


def _activated(ledger: Ledger, made: Record) -> tuple[What, Record, list[str]]:
    if made.status == "cancelled":
        raise _refused("the decision was cancelled", made)
    if made.status != "deferred":
        return "duplicate", made, []
    if ledger.now > made.deadline:
        raise _refused("the decision's time is over, and it was never shown", made)
    shown = msgspec.structs.replace(made, status="open")
    if made.held is None:
        return "activated", shown, []
    what, after, skipped = _learn(ledger, msgspec.structs.replace(shown, held=None), made.held, late=False)
    return ("activated" if what == "applied" else what), after, skipped


def _cancelled(made: Record) -> tuple[What, Record, list[str]]:
    if made.status == "cancelled":
        return "duplicate", made, []
    if made.status not in ("open", "deferred"):
        raise _refused("the decision has an outcome already", made)
    return "cancelled", msgspec.structs.replace(made, status="cancelled", held=None, n=made.n + 1), []


def _learn(ledger: Ledger, made: Record, total: float, *, late: bool) -> tuple[What, Record, list[str]]:
    """The record after `total` was learned: anew, or in place of what was."""
    what: What = "applied" if made.reward is None else "corrected"
    after, skipped = ledger.teach(made, total) if made.reward is None else ledger.correct(made, total)
    return (
        what,
        msgspec.structs.replace(
            after, status="rewarded", rewarded=ledger.now, late=late or made.status == "defaulted", n=made.n + 1
        ),
        skipped,
    )


def _told(made: Record, told: Told, value: float, *, held: float | None = None) -> Record:
    """The record that remembers what was told: the first value, or the value of a part."""
    made = msgspec.structs.replace(made, held=held, n=made.n + (held is not None))
    if told.part is not None:
        return msgspec.structs.replace(made, parts={**made.parts, told.part: value})
    return msgspec.structs.replace(made, first=value if made.first is None else made.first)


def _total(made: Record, told: Told, value: float) -> float:
    return value if told.part is None else sum(({**made.parts, told.part: value}).values())


def _fit(made: Record, loop: Loop | None, told: Told) -> float:
    """The reward that was told. Raises Unfit."""
    assert told.reward is not None  # noqa: S101  # messages require it
    if loop is None:
        return told.reward
    if (loop.aggregation == "sum") != (told.part is not None):
        needs = "needs" if loop.aggregation == "sum" else "takes no"
        raise Unfit(f"part: a reward in the loop {loop.name!r} {needs} part")
    if told.part is not None and told.part not in made.parts and len(made.parts) >= _MOST_PARTS:
        raise Unfit(f"part: a reward has at most {_MOST_PARTS} parts")
    if not loop.low <= _total(made, told, told.reward) <= loop.high:
        what = "reward" if told.part is None else "reward: the sum of the parts"
        raise Unfit(f"{what}: takes {loop.low:g} to {loop.high:g} in the loop {loop.name!r}")
    return told.reward


def _check_shown(made: Record, *, late: bool) -> None:
    if made.status == "cancelled":
        raise _refused("the decision was cancelled", made)
    if made.status == "deferred" and late:
        raise _refused("the decision's time is over, and it was never shown", made)


def _check_n(made: Record, told: Told) -> None:
    if told.if_n is not None and told.if_n != made.n:
        raise _refused(f"the last outcome is {made.n}, not {told.if_n}", made)


def _refused(problem: str, made: Record) -> Refused:
    return Refused(problem, made.status, made.reward if made.held is None else made.held)
