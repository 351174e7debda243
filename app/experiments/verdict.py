"""The evidence of a loop as Redis holds it: what was made of its log, when, and about which champion."""

import hashlib
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from app.evaluation.evidence import Evidence
from state import keys
from state.errors import CorruptState
from state.values.loop import Shown

__all__ = ["Verdict", "decode", "encode", "shown"]

_Count = Annotated[int, Meta(ge=0, le=2**53)]


class Verdict(msgspec.Struct, frozen=True):
    """The `evidence` of a loop, which was made at `at` (Unix seconds) and compares challengers with the `champion`."""

    at: _Count
    champion: Annotated[str, Meta(min_length=1, max_length=64)]
    evidence: Evidence


encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Verdict).decode


def decode(loop: str, text: bytes) -> Verdict:
    """Decode what `encode` made. Raises CorruptState."""
    try:
        return _decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CorruptState(f"{keys.EVIDENCE} {loop}", f"is not evidence: {error}") from None


def shown(verdict: Verdict, policy: str) -> Shown | None:
    """What an audit trail keeps of the evidence about a policy; None if it has no gate there."""
    judged = verdict.evidence.policies.get(policy)
    if judged is None or judged.gate is None:
        return None
    digest = hashlib.blake2b(encode(verdict), digest_size=8).hexdigest()
    return Shown(verdict.at, judged.gate.n, judged.gate.low, judged.gate.high, digest)
