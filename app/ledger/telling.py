"""What the log is told of a user: lines made of what a transaction reads and writes. Pure."""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from itertools import compress
from typing import Literal

import msgspec
from msgspec.structs import replace

from app.bandit.context import Context
from app.decision_log.lines import Candidate, Decision, Outcome, Snapshot, State, Taught, What, encode, moment
from app.messages.decision_ids import decision_id
from state.errors import CorruptState
from state.values import decision
from state.values.decision import Record

__all__ = ["Became", "Name", "base", "begun", "decided", "first_reward", "first_score", "last_line", "outcome"]


class Name(msgspec.Struct, frozen=True):
    """What names a line: the user, the epoch, the number in it; and the moment (ms)."""

    user: str
    epoch: str
    seq: int
    at: int


class Became(msgspec.Struct, frozen=True):
    """What became of a decision: its record before and after, and the reward that was told, or of a part of it."""

    before: Record
    after: Record
    what: What
    reward: float | None
    part: str


def decided(
    name: Name,
    whole: str,
    made: Record,
    context: Context,
    candidates: list[Candidate],
    *,
    explored: bool,
    versions: dict[str, str],
    priors: dict[str, int],
) -> Decision:
    """That a decision, whose `whole` id this is, was made among these `candidates`, by policies of these versions."""
    champion, canary, places = made.by_policy[0].policy, made.canary, range(len(made.ids))
    allowed = places if made.evidence is None else made.evidence.at
    return Decision(
        id=whole,
        user=name.user,
        epoch=name.epoch,
        seq=name.seq,
        ts=moment(name.at),
        loop=made.loop,
        policy=made.policy,
        arm="canary" if made.by_canary else "champion",
        versions=versions,
        prior=priors,
        state=made.state,
        seed=str(made.seed),
        context=context.moment,
        user_features=context.user,
        candidates=candidates,
        x=base(made.labels, made.x),
        propensities=made.propensities,
        chosen=made.chosen,
        propensity=made.propensities[made.chosen],
        by_policy={each.policy: each.propensities for each in made.by_policy},
        window_s=(made.deadline - made.decided) // 1_000,
        default_reward=made.terms.default,
        deferred=made.status == "deferred",
        explored=explored,
        score=made.score,
        excluded=[] if len(allowed) == len(places) else sorted({*places}.difference(allowed)),
        champion=champion if made.by_canary else "",
        canary="" if canary is None else canary.policy,
        share=0.0 if canary is None else canary.share,
        name=made.name,
        slot=made.slot,
    )


def outcome(name: Name, local: str, became: Became, taught: Mapping[str, Taught], *, whole: bool) -> Outcome:
    """What became of a decision, and how it changed models; with `whole` the line also has what they learned from, for
    a decision that the log does not have."""
    before, after = became.before, became.after
    return Outcome(
        id=decision_id(local, name.user),
        user=name.user,
        epoch=name.epoch,
        seq=name.seq,
        born=after.born,
        n=after.n,
        ts=moment(name.at),
        what=became.what,
        reward=became.reward,
        total=after.reward,
        late=after.late,
        learned=list(taught),
        loop=after.loop,
        decided=moment(after.decided),
        part=became.part,
        was=before.reward,
        taught=dict(taught),
        x=base(before.labels, before.x) if whole else None,
    )


def begun(name: Name, models: Mapping[str, Snapshot], lacking: Sequence[str]) -> State:
    """That these models were there before the log, and those that are `lacking` since they are too large for a line."""
    return replace(_state(name, "begun"), models=dict(models), lacking=list(lacking))


def first_score(name: Name, policy: str, *, explored: bool) -> State:
    """That a route of the first system chose."""
    return replace(_state(name, "score"), policy=policy, explored=explored)


def first_reward(name: Name, policy: str, x: dict[str, float], reward: float, taught: Taught | None) -> State:
    """That a route of the first system learned."""
    return replace(_state(name, "reward"), policy=policy, x=x, reward=reward, taught=taught)


def _state(name: Name, what: Literal["begun", "score", "reward", "reset", "erased"]) -> State:
    return State(user=name.user, epoch=name.epoch, seq=name.seq, ts=moment(name.at), what=what)


def last_line(user_id: str, what: Literal["reset", "erased"], shared: Sequence[bytes | None], now: int) -> bytes | None:
    """That all of a user is gone, at `now` (ms): the last line of the epoch in the SHARED fields.

    None if a user is reset who has no lines. What is erased is named by a hash alone, and in an epoch
    of its own if there is none: the log may have others.
    """
    try:
        user = decision.decode_user("", list(shared), b"")
    except CorruptState:
        user = decision.User(b"")
    if not user.epoch and what == "reset":
        return None
    epoch = user.epoch.decode(errors="replace") or secrets.token_hex(8)
    name = Name(user_id if what == "reset" else "", epoch, user.seq + 1, max(now, user.last))
    user_hash = "" if what == "reset" else hashlib.sha256(user_id.encode()).hexdigest()
    return encode(replace(_state(name, what), user_hash=user_hash))


def base(labels: Sequence[str], x: Sequence[float]) -> dict[str, float]:
    """Base columns by name, without those that are 0."""
    return dict(compress(zip(labels, x, strict=True), x))
