"""A decision as Redis holds it, and what a user's decisions share: MessagePack arrays, to which fields are appended."""

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from state import parts
from state.errors import CorruptState

__all__ = [
    "OPEN",
    "SHARED",
    "Evidence",
    "Learned",
    "Mixed",
    "Part",
    "Record",
    "Shadow",
    "Status",
    "Terms",
    "User",
    "decode",
    "decode_user",
    "encode",
    "encode_user",
    "unlogged",
]

Status = Literal["open", "deferred", "rewarded", "defaulted", "retracted", "cancelled", "void"]
# Of a decision that has no outcome yet.
OPEN: Final = frozenset({"open", "deferred"})
_Count = Annotated[int, Meta(ge=0)]
_Moment = Annotated[int, Meta(ge=0, lt=253_402_300_800_000)]  # ms, before the year 10000
_Share = Annotated[float, Meta(ge=0, le=1)]
_Shared = Annotated[int, Meta(ge=0, lt=10**18)]  # fits into 64 bits, with room to count on


class Learned(msgspec.Struct, frozen=True, array_like=True):
    """That a policy learned the outcome: when its model had had `updates`, with the columns named by `columns`."""

    policy: str
    updates: _Count
    columns: bytes


class Evidence(msgspec.Struct, frozen=True, array_like=True):
    """What explains a choice: the base columns of the candidates `at` these places, row by row; theta of the policy
    that chose, by its column `labels`; and the bonus of each of these candidates, if there is one. All are float64."""

    at: list[int]
    base: bytes
    labels: list[str]
    theta: bytes
    bonus: bytes


class Shadow(msgspec.Struct, frozen=True, array_like=True):
    """What a policy would have done: the propensity of each candidate, as long as no reward was learned."""

    policy: str
    propensities: list[_Share]


class Terms(msgspec.Struct, frozen=True, array_like=True):
    """What the loop said of rewards when the decision was made: they are from `low` to `high`, silence is booked as
    `default`; whether it `discards` late ones, and whether several add up."""

    low: float
    high: float
    default: float | None
    discards: bool
    adds: bool


class Mixed(msgspec.Struct, frozen=True, array_like=True):
    """The canary beside the champion: it serves this share of the decisions, so the propensities are mixed."""

    policy: str
    share: _Share


class Part(msgspec.Struct, frozen=True, array_like=True):
    """A reward that was told: the value that came `first`, and what stands now; None: it was taken back."""

    first: float
    value: float | None


class Record(msgspec.Struct, frozen=True, array_like=True):
    """A decision. Moments are in milliseconds since 1970, by Redis's clock.

    `request` is a digest of what was asked. `ids` are the candidates' and `propensities` theirs, of which `chosen` was
    drawn by `seed`. `by_policy` are the champion, the canary and the shadows, each alone. `labels` and `x` are the
    chosen one's base columns; after a reward those that are 0 are left out. `born` is the user's count of changes at
    the decision. `reward` is what is learned now, `held` a reward that waits for an activation, `n` the number of
    outcomes. `parts` are the rewards that add up to it, by name; a reward that is not a sum has the name "". With
    `early` it made room for others before its time, and does not count as open. `evidence` is there until a reward is
    learned. `state` is that of the loop, and `by_canary` says which of the two that served it chose, if it had a
    `canary`. `name` is what the client calls it whose ids may be any text. Of several decisions of one request each has
    the id of its `slot`, and the first one the ids of all `slots`. No policy learns from one that is `untaught`.
    """

    request: bytes
    loop: str
    policy: str
    status: Status
    born: _Count
    decided: _Moment
    deadline: _Moment
    terms: Terms
    ids: list[str]
    propensities: list[_Share]
    chosen: _Count
    score: float
    seed: _Count
    by_policy: list[Shadow]
    labels: list[str]
    x: list[float]
    n: _Count = 0
    reward: float | None = None
    held: float | None = None
    rewarded: _Moment | None = None
    late: bool = False
    learned: list[Learned] = []
    parts: dict[str, Part] = {}
    early: bool = False
    evidence: Evidence | None = None
    state: _Count = 0
    by_canary: bool = False
    canary: Mixed | None = None
    name: str = ""
    slot: str = ""
    slots: list[str] = []
    untaught: bool = False

    @property
    def is_open(self) -> bool:
        """Whether it counts as open: it has no outcome yet, and did not have to make room."""
        return self.status in OPEN and not self.early


class User(msgspec.Struct):
    """What the decisions of a user share: a random `epoch`, new after a reset; `seq`, one more with each change; the
    `last` moment (ms) by which its time never runs back; how many decisions are `open`, how many there are, and how
    many `bytes` they have; whether each change so far in this epoch, or since a line that says what was there
    before, has `logged` a line; and into how many `parts` those of large loops are spread, 0 if there never was one."""

    epoch: bytes
    seq: int = 0
    last: int = 0
    open: int = 0
    records: int = 0
    bytes: int = 0
    logged: int = 0
    parts: int = 0


# The fields of the hash of a User, in this order; few users have the last one.
SHARED: Final = tuple(name.encode() for name in User.__struct_fields__)

encode = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Record).decode
_counts: Final = msgspec.json.Decoder(list[_Shared]).decode


def decode(key: str, blob: bytes) -> Record:
    """The decision in `blob`. Raises CorruptState, which names `key`."""
    try:
        found = _decode(blob)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CorruptState(key, f"is not a decision: {error}") from None
    size = len(found.ids)
    fits = len(found.propensities) == size > found.chosen and len(found.labels) == len(found.x)
    for one in found.by_policy:
        count = len(one.propensities)
        fits = fits and (count == size or not count)
    if not fits:
        raise CorruptState(key, "is not a decision: its lists do not fit together")
    if found.evidence is not None and not _fits(found.evidence, found):
        raise CorruptState(key, "is not a decision: its evidence does not fit it")
    return found


def _fits(told: Evidence, made: Record) -> bool:
    at, count, every = told.at, len(told.at), len(made.ids)
    if len(told.base) != 8 * count * len(made.x) or len(told.theta) != 8 * len(told.labels):
        return False
    if len(told.bonus) not in (0, 8 * count):
        return False
    # Mostly it is all candidates; to see that takes half the time.
    return at == [*range(every)] or not at or 0 <= min(at) <= max(at) < every


def decode_user(key: str, values: Sequence[bytes | None], epoch: bytes) -> User:
    """What is in the SHARED fields of a hash; a new user has `epoch`. Raises CorruptState, which names `key`."""
    if values[0] is None:
        return User(epoch)
    told: list[Any] = [*values[1:-1], values[-1] or b"0"]  # None is not a count either
    try:
        # Half the price of int() for each; but JSON has numbers that are more than digits.
        if b"".join(told).isdigit():
            return User(values[0], *_counts(b"[%b]" % b",".join(told)))
    except (TypeError, msgspec.DecodeError):
        pass
    raise CorruptState(key, "has a field that is not a count")


def unlogged(values: Sequence[bytes | None]) -> dict[bytes, bytes]:
    """The fields of SHARED to set where models change past the log, which then begins anew with what is there."""
    return {} if values[0] is None else {b"logged": b"0"}


def encode_user(user: User, *, moved: bool = False) -> dict[bytes, bytes]:
    """All fields of the hash, or of one that is there only those that every change moves.

    Most users have no parts, and no field for them.
    """
    fields = {
        b"seq": b"%d" % user.seq,
        b"last": b"%d" % user.last,
        b"open": b"%d" % user.open,
        b"records": b"%d" % user.records,
        b"bytes": b"%d" % user.bytes,
    }
    if moved:
        return fields
    spread = {parts.FIELD: b"%d" % user.parts} if user.parts else {}
    return {b"epoch": user.epoch, **fields, b"logged": b"%d" % user.logged, **spread}
