"""What was sent of a decision, and whether it fits: the decision that is wanted, and what is told of one."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from app.bandit.context import Context, Fields
from app.decisions.decide import Candidate
from app.decisions.errors import BadDecision, Refused, Unfit
from app.policies.plan import Plan
from app.policies.unread import Name, Of
from state.values.decision import Part, Record

__all__ = ["Asked", "Told", "check_n", "check_range", "check_shown", "part_of", "refused", "total_of", "value_of"]

# Bytes of the fields of a request that no feature reads.
_LONGEST_UNKNOWN: Final = 4_096
_MOST_PARTS: Final = 64
_canonical: Final = msgspec.json.Encoder(order="deterministic").encode


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A decision that is wanted. `local` is its id for the user, if the client has one; `excluded` are the ids of
    candidates that must not be chosen."""

    user_id: str
    loop: str
    context: Context
    candidates: Sequence[Candidate]
    excluded: Sequence[str] = ()
    deferred: bool = False
    local: str | None = None

    def digest(self) -> bytes:
        """16 bytes that two requests share if they say the same, whatever the order and spacing of their JSON."""
        return hashlib.blake2b(_canonical(self), digest_size=16).digest()

    def allowed(self) -> list[int]:
        """The places of the candidates that may be chosen."""
        excluded = set(self.excluded)
        return [place for place, each in enumerate(self.candidates) if each.id not in excluded]

    def left_out(self) -> list[int]:
        """The places of the others."""
        allowed = set(self.allowed())
        return [place for place in range(len(self.candidates)) if place not in allowed]

    def seen(self, place: int) -> Fields:
        """The fields of a candidate, of which its id is one."""
        return {**self.candidates[place].features, "id": self.candidates[place].id}

    def plan(self, plans: Mapping[str, Plan]) -> Plan:
        """How its loop decides. Raises BadDecision if there is no such loop."""
        found = plans.get(self.loop)
        if found is None:
            raise BadDecision(f"loop: there is no {self.loop!r}, there are {', '.join(plans)}")
        return found

    def check(self, plan: Plan) -> set[Name]:
        """The fields that no feature of the loop reads. Raises BadDecision for what the loop cannot decide."""
        names = {each.id for each in self.candidates}
        if len(names) < len(self.candidates):
            raise BadDecision("candidates: two have the same id")
        if odd := sorted(set(self.excluded) - names):
            raise BadDecision(f"exclude: {odd[0]!r} is not the id of a candidate")
        if names <= set(self.excluded):
            raise BadDecision("exclude: no candidate is left")
        unread: set[Name] = set()

        def rest(of: Of, fields: Fields) -> dict[str, object]:
            found = plan.unknown(of, fields)
            unread.update((of, name) for name in found)
            return {name: fields[name] for name in found}

        unknown = {
            "context": rest("context", self.context.moment),
            "user": rest("user", self.context.user),
            "candidates": {
                f"{each.id}: {name}": value
                for each in self.candidates
                for name, value in rest("candidate", each.features).items()
            },
        }
        for where, fields in unknown.items():
            if fields and plan.loop.refuses_unknown:
                raise BadDecision(f"{where}: no feature of the loop reads {next(iter(fields))!r}")
        if (size := len(_canonical(unknown))) > _LONGEST_UNKNOWN:
            raise BadDecision(f"the fields that no feature reads have {size:,} bytes, more than {_LONGEST_UNKNOWN:,}")
        return unread


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What a client says of a decision: a reward, unless it takes one back; `part` is that of a sum.

    With `if_n` it only counts if the last outcome was that one.
    """

    reward: float | None = None
    part: str | None = None
    if_n: int | None = None


def total_of(parts: Mapping[str, Part]) -> float | None:
    """The sum of the parts that stand; None if none does."""
    standing = [part.value for part in parts.values() if part.value is not None]
    return sum(standing) if standing else None


def value_of(told: Told) -> float:
    """The reward that was told."""
    assert told.reward is not None  # noqa: S101  # messages require it
    return told.reward


def part_of(made: Record, told: Told) -> str:
    """The name of what was told, "" if it is no part of a sum. Raises Unfit."""
    name = told.part or ""
    if made.terms.adds != bool(name):
        needs = "needs" if made.terms.adds else "takes no"
        raise Unfit(f"part: a reward in the loop {made.loop!r} {needs} part")
    if name not in made.parts and len(made.parts) >= _MOST_PARTS:
        raise Unfit(f"part: a reward has at most {_MOST_PARTS} parts")
    return name


def check_range(made: Record, name: str, value: float | None) -> None:
    """Raise Unfit for a reward that would not be one of the loop's; None takes the part back."""
    total, terms = total_of({**made.parts, name: Part(0.0, value)}), made.terms
    if total is not None and not terms.low <= total <= terms.high:
        what = "reward: the sum of the parts" if name else "reward"
        raise Unfit(f"{what}: takes {terms.low:g} to {terms.high:g} in the loop {made.loop!r}")


def check_shown(made: Record) -> None:
    """Raise Refused for a decision that was not shown."""
    if made.status == "cancelled":
        raise refused("the decision was cancelled", made)
    if made.status == "void":
        raise refused("the decision's time is over, and it was never shown", made)


def check_n(made: Record, told: Told) -> None:
    """Raise Refused unless the last outcome was the one that is wanted."""
    if told.if_n is not None and told.if_n != made.n:
        raise refused(f"the last outcome is {made.n}, not {told.if_n}", made)


def refused(problem: str, made: Record) -> Refused:
    """The refusal that says what is recorded."""
    return Refused(problem, made.status, made.reward if made.held is None else made.held)
