"""A decision that is wanted: what was sent, and whether it can be decided."""

import hashlib
from collections.abc import Sequence
from typing import Final

import msgspec

from app.bandit.context import Context, Fields
from app.decisions.decide import Candidate
from app.decisions.errors import BadDecision
from app.policies.plan import Plan

__all__ = ["Asked"]

# Bytes of the fields of a request that no feature reads.
_LONGEST_UNKNOWN: Final = 4_096
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

    def seen(self, place: int) -> Fields:
        """The fields of a candidate, of which its id is one."""
        return {**self.candidates[place].features, "id": self.candidates[place].id}

    def check(self, plan: Plan) -> None:
        """Raise BadDecision for what the loop cannot decide."""
        names = {each.id for each in self.candidates}
        if len(names) < len(self.candidates):
            raise BadDecision("candidates: two have the same id")
        if odd := sorted(set(self.excluded) - names):
            raise BadDecision(f"exclude: {odd[0]!r} is not the id of a candidate")
        if names <= set(self.excluded):
            raise BadDecision("exclude: no candidate is left")
        unknown = {
            "context": {name: self.context.moment[name] for name in plan.unknown("context", self.context.moment)},
            "user": {name: self.context.user[name] for name in plan.unknown("user", self.context.user)},
            "candidates": {
                f"{each.id}: {name}": each.features[name]
                for each in self.candidates
                for name in plan.unknown("candidate", each.features)
            },
        }
        for where, fields in unknown.items():
            if fields and plan.loop.refuses_unknown:
                raise BadDecision(f"{where}: no feature of the loop reads {next(iter(fields))!r}")
        if (size := len(_canonical(unknown))) > _LONGEST_UNKNOWN:
            raise BadDecision(f"the fields that no feature reads have {size:,} bytes, more than {_LONGEST_UNKNOWN:,}")
