"""The lines of the log: what was decided, what became of it, and what else changed the models of a user.

A line is one JSON object without blanks. It is named by user, epoch and seq, and never changes. Fields may be added,
and none is ever renamed or removed: those that came later are left out where they have their default.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

__all__ = [
    "LONGEST",
    "BadLine",
    "Candidate",
    "Decision",
    "Line",
    "LongLine",
    "Outcome",
    "Snapshot",
    "State",
    "Taught",
    "What",
    "decode",
    "encode",
    "milliseconds",
    "moment",
]

# Bytes of a line, and of a message in JetStream.
LONGEST: Final = 512 * 1024
_BEGIN: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)
_TS: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")

What = Literal["applied", "default", "early", "corrected", "retracted", "activated", "cancelled", "expired"]
_Told = Literal["score", "reward", "imported", "restored", "columns", "begun", "reset", "erased", "loop"]
_Id = Annotated[str, Meta(min_length=1, max_length=2_048)]
_User = Annotated[str, Meta(max_length=256)]
_Epoch = Annotated[str, Meta(min_length=1, max_length=64)]
_Name = Annotated[str, Meta(min_length=1, max_length=64)]
_MaybeName = Annotated[str, Meta(max_length=64)]
_Print = Annotated[str, Meta(max_length=64)]
_Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Share = Annotated[float, Meta(ge=0, le=1)]
_Seed = Annotated[str, Meta(pattern=r"^[0-9]{1,20}\Z")]


class LongLine(ValueError):
    """A change would make a line longer than LONGEST."""


class BadLine(ValueError):
    """A text is not a line of the log; the message says why."""


class Candidate(msgspec.Struct, frozen=True, gc=False):
    """A candidate: its id and its features."""

    id: Annotated[str, Meta(max_length=256)]
    features: Mapping[str, Any]


class Taught(msgspec.Struct, frozen=True, omit_defaults=True):
    """How the model of one policy changed: everything its A, b and counters can be computed again from.

    `own` are the columns of the policy and `columns` those of its stored model after the change, both as fingerprints
    of state.values.columns, also for policies whose models do not name theirs. `updates` is the model's count when it
    learned this outcome, for a correction the count back then, and `had` the model's columns back then ("": `columns`).
    `forget` and `baseline` are the policy's, at the change.
    """

    own: _Print
    columns: _Print
    updates: _Count
    had: _Print = ""
    forget: float = 1.0
    baseline: float = 0.0


class Snapshot(msgspec.Struct, frozen=True):
    """A whole model as Redis holds it: A, b and meta, and the fingerprint of its columns, as `Taught.columns`."""

    a: bytes
    b: bytes
    meta: bytes
    columns: _Print


class Decision(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="decision", omit_defaults=True):
    """A decision. `x` are the base columns of the chosen candidate, and `propensities` what was drawn from.

    `by_policy` is what the champion, the canary and each shadow alone would have given. `explored` and the second of
    `ts` are what the counters of `policy` count. `excluded` are the places of candidates that must not be chosen. The
    `champion` is named if another policy served, and a `canary` with its `share` if there was one. `name` is what the
    client calls it whose ids may be any text, `slot` the place it fills if the request had several.
    """

    id: _Id
    user: _User
    epoch: _Epoch
    seq: _Count
    ts: str
    loop: _Name
    policy: _Name
    arm: Literal["champion", "canary"]
    versions: dict[str, _Print]
    prior: dict[str, _Count]
    state: _Count
    seed: _Seed
    context: Mapping[str, Any]
    user_features: Mapping[str, Any]
    candidates: Annotated[list[Candidate], Meta(min_length=1, max_length=1_000)]
    x: dict[str, float]
    propensities: list[_Share]
    chosen: _Count
    propensity: _Share
    by_policy: dict[str, list[_Share]]
    window_s: _Count
    default_reward: float | None
    deferred: bool
    explored: bool = False
    score: float = 0.0
    excluded: Annotated[list[_Count], Meta(max_length=1_000)] = []
    champion: _MaybeName = ""
    canary: _MaybeName = ""
    share: _Share = 0.0
    name: Annotated[str, Meta(max_length=256)] = ""
    slot: Annotated[str, Meta(max_length=256)] = ""


class Outcome(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="outcome", omit_defaults=True):
    """What became of the decision that is the user's line `born`: its `n`-th outcome.

    `reward` is what was told, or of `part` of it, and `total` what stands from then on; None: nothing. `was` stood
    before. `learned` are the policies whose models changed, each with its part in `taught`. `decided` is the decision's
    `ts`. `x` are the decision's base columns, for one that was made before the log.
    """

    id: _Id
    user: _User
    epoch: _Epoch
    seq: _Count
    born: _Count
    n: _Count
    ts: str
    what: What
    reward: float | None
    total: float | None
    late: bool
    learned: list[_Name]
    loop: _MaybeName = ""
    decided: str = ""
    part: Annotated[str, Meta(max_length=128)] = ""
    was: float | None = None
    taught: dict[str, Taught] = {}
    x: dict[str, float] | None = None


class State(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="state", omit_defaults=True):
    """What else changed: `what` says how.

    `score`, `reward`: the first system's routes changed the model of `policy`; for a score `explored` and the second of
    `ts` are counted, for a reward `x` (base columns), `reward` and `taught` are as in a decision and its outcome.
    `imported`, `columns`, `begun`: these `models` replace those of the same policies, and `restored`: all models.
    `columns`: unused columns were removed; `begun`: the models were there before the log. Models that changed but are
    too large for a line are `lacking`.
    `reset`, `erased`: all models are gone, and this is the last line of its epoch. An erased user is named by
    `user_hash` alone, the SHA-256 of the id in hexadecimal digits, and `user` is "".
    `loop`: somebody changed who serves the loop `loop`; it belongs to no user ("") and `change` says what.
    """

    user: _User
    epoch: _Epoch
    seq: _Count
    ts: str
    what: _Told
    user_hash: _Print = ""
    policy: _MaybeName = ""
    explored: bool = False
    x: dict[str, float] = {}
    reward: float | None = None
    taught: Taught | None = None
    models: dict[str, Snapshot] = {}
    lacking: list[_Name] = []
    loop: _MaybeName = ""
    change: dict[str, Any] = {}


Line = Decision | Outcome | State

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Line).decode


def encode(line: Line) -> bytes:
    """The line as JSON, without the line break."""
    return _encode(line)


def decode(text: bytes) -> Line:
    """The line that is `text`, without or with its line break. Raises BadLine."""
    if len(text) > LONGEST:
        raise BadLine(f"has {len(text):,} bytes, more than {LONGEST:,}")
    try:
        line: Line = _decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadLine(str(error)) from None
    milliseconds(line.ts)
    if isinstance(line, Outcome) and line.decided:
        milliseconds(line.decided)
    if isinstance(line, Decision):
        _check(line)
    return line


def _check(line: Decision) -> None:
    """Raise BadLine for lists that do not fit together."""
    count = len(line.candidates)
    if {len(line.propensities), *map(len, line.by_policy.values())} != {count}:
        raise BadLine("has not one propensity for each candidate")
    if line.chosen >= count or line.propensities[line.chosen] != line.propensity:
        raise BadLine("the chosen candidate does not have the propensity")
    if any(place >= count for place in line.excluded):
        raise BadLine("excluded: names a candidate that is not there")


def moment(ms: int) -> str:
    """Milliseconds since 1970 as a line has them: `2026-11-28T09:00:00.123Z`."""
    return f"{_second(ms // 1_000)}.{ms % 1_000:03d}Z"


@lru_cache(256)  # the decisions of a second share it, and the rewards of a minute those of theirs
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:19]


def milliseconds(ts: str) -> int:
    """The milliseconds of a text that `moment` made. Raises BadLine."""
    if not _TS.fullmatch(ts):
        raise BadLine(f"ts: {ts[:40]!r} is not a time such as 2026-11-28T09:00:00.123Z")
    try:
        found = datetime.fromisoformat(ts)
    except ValueError as error:
        raise BadLine(f"ts: {ts!r}: {error}") from None
    return (found - _BEGIN) // _MS
