"""What was asked for: one decision, or one for each of several slots, and whether that can be decided."""

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Final, Self

import msgspec
import numpy as np

from app.bandit.context import NOTHING, Context, Fields
from app.bandit.ridge import Matrix
from app.decisions.decide import Described
from app.decisions.errors import BadDecision
from app.policies.loop import Loop
from app.policies.plan import Plan
from app.policies.unread import Name, Of
from state.values.decision import Terms

__all__ = ["Asked", "Conditions", "Slot"]

# Bytes of the fields of a request that no feature reads.
_LONGEST_UNKNOWN: Final = 4_096
# Slots of a request, and slots times candidates.
_MOST_SLOTS: Final = 50
_MOST_PAIRS: Final = 5_000
# Candidates with nested features that are seen in one turn of the event loop: of the largest ones some milliseconds.
_IN_A_TURN: Final = 8
_canonical: Final = msgspec.json.Encoder(order="deterministic").encode
_id: Final[Callable[[Described], str]] = attrgetter("id")
_fields: Final[Callable[[Described], Fields]] = attrgetter("features")


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A decision that is wanted. `local` is its id for the user, if the client has one; `excluded` are the ids of
    candidates that must not be chosen."""

    user_id: str
    loop: str
    context: Context
    candidates: Sequence[Described]
    excluded: Sequence[str] = ()
    deferred: bool = False
    local: str | None = None

    def digest(self, slots: Sequence[object] = ()) -> bytes:
        """16 bytes that two requests share if they say the same, whatever the order and spacing of their JSON."""
        said = _canonical(self) + (_canonical(slots) if slots else b"")
        return hashlib.blake2b(said, digest_size=16).digest()

    def allowed(self) -> list[int]:
        """The places of the candidates that may be chosen."""
        if not self.excluded:
            return list(range(len(self.candidates)))
        excluded = set(self.excluded)
        return [place for place, each in enumerate(self.candidates) if each.id not in excluded]

    def seen(self, places: Sequence[int], plan: Plan) -> list[Fields]:
        """The fields of the candidates at these places; the id of each is one, if a feature of the loop reads it."""
        some = map(self.candidates.__getitem__, places)
        if "id" not in plan.known["candidate"]:
            return list(map(_fields, some))
        return [{**each.features, "id": each.id} for each in some]

    async def encoded(self, places: Sequence[int], plan: Plan) -> tuple[Matrix, list[str]]:
        """The base columns of the candidates at these places, and the features that could not be read. Others have
        their turn in between where that takes long."""
        seen = self.seen(places, plan)
        if not plan.encoder.nests:
            return plan.encoder.encode(self.context, seen)
        parts, missing = [], list[str]()
        for at in range(0, len(seen), _IN_A_TURN):
            await asyncio.sleep(0)
            base, lacking = plan.encoder.encode(self.context, seen[at : at + _IN_A_TURN])
            parts.append(base)
            missing += lacking
        return np.concatenate(parts), missing

    def plan(self, plans: Mapping[str, Plan]) -> Plan:
        """How its loop decides. Raises BadDecision if there is no such loop."""
        found = plans.get(self.loop)
        if found is None:
            raise BadDecision(f"loop: there is no {self.loop!r}, there are {', '.join(plans)}")
        return found

    def of_slot(self, slot: "Slot") -> Self:
        """The decision that is wanted for one slot, apart from the others."""
        context = Context({**self.context.moment, **slot.features}, self.context.user)
        excluded = dict.fromkeys((*self.excluded, *slot.excluded))
        return msgspec.structs.replace(self, context=context, excluded=list(excluded))

    def check_slots(self, slots: Sequence["Slot"]) -> None:
        """Raise BadDecision for slots that cannot all be filled, whatever they allow."""
        if not 1 <= len(slots) <= _MOST_SLOTS:
            raise BadDecision(f"slots: takes 1 to {_MOST_SLOTS}")
        if len(slots) * len(self.candidates) > _MOST_PAIRS:
            raise BadDecision(f"slots: times candidates they are more than {_MOST_PAIRS:,}")
        if len({slot.id for slot in slots}) < len(slots):
            raise BadDecision("slots: two have the same id")

    def check(self, plan: Plan) -> set[Name]:
        """The fields that no feature of the loop reads. Raises BadDecision for what the loop cannot decide."""
        names = set(map(_id, self.candidates))
        if len(names) < len(self.candidates):
            raise BadDecision("candidates: two have the same id")
        if self.excluded and (odd := sorted(set(self.excluded) - names)):
            raise BadDecision(f"exclude: {odd[0]!r} is not the id of a candidate")
        if names <= set(self.excluded):
            raise BadDecision("exclude: no candidate is left")
        unread: set[Name] = set()
        if plan.reads_all(self.context, map(_fields, self.candidates)):
            return unread

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


class Slot(msgspec.Struct, frozen=True, kw_only=True):
    """A place for one candidate: its own `features` are seen beside the context, and `excluded` must not be chosen."""

    id: str
    features: Fields = NOTHING
    excluded: Sequence[str] = ()


class Conditions(msgspec.Struct, frozen=True):
    """What may come of a decision: rewards by `terms`, within `window` ms.

    `floor` is what all candidates share at least of the probability; None: what the policies say. A policy learns
    from the outcome only if the decision `teaches`. In a slot that `shown` names, by its id or "" without slots, this
    candidate is shown whatever the policies would choose; they learn from it what they would have had to choose.
    """

    terms: Terms
    window: int
    floor: float | None = None
    teaches: bool = True
    shown: Mapping[str, str] = {}

    @classmethod
    def of(cls, loop: Loop) -> Self:
        """What the file says of a loop now: it may change before the outcome comes."""
        terms = Terms(loop.low, loop.high, loop.default_reward, loop.late == "discard", loop.aggregation == "sum")
        return cls(terms, loop.window * 1_000)
