"""What was told of a decision, and what it makes of its record.

A record changes here and nowhere else, by pure functions of the record, the time and what was told.
"""

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from app.decisions.errors import Refused, Unfit
from app.ledger.ledger import Ledger
from state.values.decision import Part, Record

__all__ = ["Became", "Told", "What", "activated", "cancelled", "corrected", "retracted", "rewarded"]

What = Literal["applied", "duplicate", "corrected", "retracted", "held", "late", "activated", "cancelled"]
# What became of it, the record then, and the policies that could not learn since they are gone.
Became = tuple[What, Record, list[str]]
# The parts of a reward by name, and their sum; None if none of them stands.
_Parts = tuple[dict[str, Part], float | None]
_MOST_PARTS: Final = 64


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What a client says of a decision: a reward, unless it takes one back; `part` is that of a sum.

    With `if_n` it only counts if the last outcome was that one.
    """

    reward: float | None = None
    part: str | None = None
    if_n: int | None = None


def _total_of(parts: Mapping[str, Part]) -> float | None:
    """The sum of the parts that stand; None if none does."""
    standing = [part.value for part in parts.values() if part.value is not None]
    return sum(standing) if standing else None


def _value_of(told: Told) -> float:
    """The reward that was told."""
    assert told.reward is not None  # noqa: S101  # messages require it
    return told.reward


def _part_of(made: Record, told: Told) -> str:
    """The name of what was told, "" if it is no part of a sum. Raises Unfit."""
    name = told.part or ""
    if made.terms.adds != bool(name):
        needs = "needs" if made.terms.adds else "takes no"
        raise Unfit(f"part: a reward in the loop {made.loop!r} {needs} part")
    if name not in made.parts and len(made.parts) >= _MOST_PARTS:
        raise Unfit(f"part: a reward has at most {_MOST_PARTS} parts")
    return name


def _with(made: Record, name: str, value: float | None) -> _Parts:
    """The parts of which one, by name, has this value, None: is taken back; and their sum. Raises Unfit for a reward
    that would not be one of the loop's."""
    known, terms = made.parts.get(name), made.terms
    first = known.first if known is not None else value
    parts = {**made.parts, name: Part(0.0 if first is None else first, value)}
    total = _total_of(parts)
    if total is not None and not terms.low <= total <= terms.high:
        what = "reward: the sum of the parts" if name else "reward"
        raise Unfit(f"{what}: takes {terms.low:g} to {terms.high:g} in the loop {made.loop!r}")
    return parts, total


def _check_shown(made: Record) -> None:
    """Raise Refused for a decision that was not shown."""
    if made.status == "cancelled":
        raise _refused("the decision was cancelled", made)
    if made.status == "void":
        raise _refused("the decision's time is over, and it was never shown", made)


def _check_n(made: Record, told: Told) -> None:
    """Raise Refused unless the last outcome was the one that is wanted."""
    if told.if_n is not None and told.if_n != made.n:
        raise _refused(f"the last outcome is {made.n}, not {told.if_n}", made)


def _refused(problem: str, made: Record) -> Refused:
    """The refusal that says what is recorded."""
    return Refused(problem, made.status, made.reward if made.held is None else made.held)


def rewarded(ledger: Ledger, made: Record, told: Told) -> Became:
    """A reward for the first time, or again. Raises Unfit and Refused."""
    value = _value_of(told)
    name = _part_of(made, told)
    known = made.parts.get(name)
    # Before anything else: what was accepted once is accepted whenever it comes again.
    if known is not None and known.first == value:
        return "duplicate", made, []
    parts = _with(made, name, value)
    if known is not None:
        raise _refused("another reward was told before; PUT corrects it", made)
    _check_shown(made)
    late = ledger.now >= made.deadline
    if late and made.terms.discards:
        return "late", made, []
    what: What = "corrected" if made.status == "defaulted" else "applied"
    return _stand(ledger, made, parts, what, late=late)


def corrected(ledger: Ledger, made: Record, told: Told) -> Became:
    """Another reward in place of the one that was told. Raises Unfit and Refused."""
    value = _value_of(told)
    name = _part_of(made, told)
    known = made.parts.get(name)
    _check_shown(made)
    # Before `if_n`: a client that did not get the answer repeats what it sent.
    if known is not None and known.value == value:
        return "duplicate", made, []
    parts = _with(made, name, value)
    _check_n(made, told)
    if known is not None:
        return _stand(ledger, made, parts, "corrected", late=made.late)
    if made.status != "defaulted":
        raise _refused("there is no reward to correct", made)
    late = ledger.now >= made.deadline
    if late and made.terms.discards:
        return "late", made, []
    return _stand(ledger, made, parts, "corrected", late=late)


def retracted(ledger: Ledger, made: Record, told: Told) -> Became:
    """The reward that was told was none. Raises Unfit and Refused."""
    name = _part_of(made, told)
    known = made.parts.get(name)
    _check_shown(made)
    if known is not None and known.value is None:
        return "duplicate", made, []
    parts = _with(made, name, None)
    _check_n(made, told)
    if known is None:
        raise _refused("there is no reward to take back", made)
    return _stand(ledger, made, parts, "retracted", late=made.late)


def activated(ledger: Ledger, made: Record) -> Became:
    """It was shown. Raises Refused."""
    _check_shown(made)
    if made.status != "deferred":
        return "duplicate", made, []
    shown = msgspec.structs.replace(made, status="retracted" if made.parts else "open", held=None)
    return (
        ("activated", shown, [])
        if made.held is None
        else _stand(ledger, shown, (made.parts, made.held), "activated", late=False)
    )


def cancelled(made: Record) -> Became:
    """It was never shown. Raises Refused."""
    if made.status in ("cancelled", "void"):
        return "duplicate", made, []
    if made.status not in ("open", "deferred"):
        raise _refused("the decision has an outcome already", made)
    return "cancelled", msgspec.structs.replace(made, status="cancelled", held=None, n=made.n + 1), []


def _stand(ledger: Ledger, made: Record, told: _Parts, what: What, *, late: bool) -> Became:
    """The record in which what was `told` stands: held until the decision is shown, or learned."""
    parts, total = told
    after, skipped, n = made, list[str](), made.n + 1
    if made.status == "deferred":
        held = msgspec.structs.replace(made, parts=parts, n=n, held=total)
        return ("retracted" if what == "retracted" else "held"), held, []
    if made.reward is not None:
        after, skipped = ledger.correct(made, total)
    elif total is not None:
        after, skipped = ledger.teach(made, total, ledger.now // 1_000)
    status: Literal["rewarded", "retracted"] = "retracted" if total is None else "rewarded"
    moment = ledger.now if what != "retracted" else made.rewarded
    after = msgspec.structs.replace(after, parts=parts, n=n, status=status, rewarded=moment, late=late)
    return what, after, skipped
