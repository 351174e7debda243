"""Who serves a loop, as Redis holds it: the stage that it has reached, those before, and who changed it; JSON."""

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from state.errors import CorruptState

__all__ = ["LONGEST_AUDIT", "MOST_FORMER", "Canary", "Change", "Shown", "Stage", "Standing", "decode", "decode_audit"]

# Stages that one may go back to, and changes that are remembered.
MOST_FORMER: Final = 16
LONGEST_AUDIT: Final = 100
_Name = Annotated[str, Meta(min_length=1, max_length=64)]
_Count = Annotated[int, Meta(ge=0, le=2**53)]
_Number = Annotated[int, Meta(ge=1, le=2**53)]
_Epoch = Annotated[str, Meta(min_length=1, max_length=64)]
_Share = Annotated[float, Meta(gt=0, lt=1)]


class Canary(msgspec.Struct, frozen=True):
    """The challenger that serves this share of the decisions."""

    policy: _Name
    share: _Share


class Stage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who serves a loop: its `champion`, and a canary beside it. `number` is that of the state which began it; 0: it is
    what a policy file said."""

    number: _Count
    champion: _Name
    canary: Canary | None = None


class Standing(msgspec.Struct, frozen=True, omit_defaults=True):
    """The state of a loop: the `number` of changes so far, the stage `now`, and the `former` ones, the last one first.

    `epoch` is random, and with `number` names the change in the log; `nonce` is random and names it for its author.
    """

    number: _Number
    epoch: _Epoch
    nonce: Annotated[str, Meta(max_length=64)]
    now: Stage
    former: Annotated[list[Stage], Meta(max_length=MOST_FORMER)] = []


class Shown(msgspec.Struct, frozen=True):
    """What evidence said when a change was decided: when it was made (Unix seconds), of `n` decisions, and the bounds
    of what the policy earns above the champion. `digest` names the whole of it."""

    at: _Count
    n: _Count
    low: float
    high: float
    digest: Annotated[str, Meta(max_length=64)]


class Change(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who made the change with this `number` by which API key ("": without keys), when (ms), to what stage, and why.

    With `went_back` the stage is a former one. `evidence` is None if there was none.
    """

    number: _Number
    at: _Count
    who: Annotated[str, Meta(max_length=256)]
    to: Stage
    went_back: bool = False
    because: Annotated[str, Meta(max_length=1_000)] = ""
    evidence: Shown | None = None


_decode: Final = msgspec.json.Decoder(Standing).decode
_decode_audit: Final = msgspec.json.Decoder(list[Change]).decode
encode: Final[Any] = msgspec.json.Encoder().encode


def decode(where: str, text: bytes) -> Standing:
    """The state of a loop. Raises CorruptState, which names `where`."""
    try:
        found = _decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CorruptState(where, f"is not the state of a loop: {error}") from None
    for stage in (found.now, *found.former):
        if stage.number > found.number or (stage.canary is not None and stage.canary.policy == stage.champion):
            raise CorruptState(where, "is not the state of a loop: its stages do not fit together")
    return found


def decode_audit(where: str, text: bytes | None) -> list[Change]:
    """The changes of a loop, newest first; an empty list without text. Raises CorruptState, which names `where`."""
    try:
        return [] if text is None else _decode_audit(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CorruptState(where, f"is not a list of changes: {error}") from None
