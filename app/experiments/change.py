"""Change who serves a loop: by the state that somebody saw, on evidence or for a reason, and with an entry in the
audit trail."""

import logging
import secrets
from typing import Any, Final

import msgspec

from app.decision_log import lines
from app.experiments import health as healths
from app.experiments import verdict as verdicts
from app.experiments.errors import BadChange, NotYet, Stale
from app.experiments.following import Following
from app.experiments.ladder import Known, challenger, objections
from app.experiments.verdict import Verdict
from app.messages.pipeline import LoopHealth
from app.policies.lint import is_certain
from app.policies.plan import Plan
from state.errors import CorruptState
from state.loops import Changed, Loops
from state.values.loop import MOST_FORMER, Canary, Change, Stage, Standing

__all__ = ["Changer", "Wanted", "against"]

_log: Final = logging.getLogger("oo.loops")


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody (`who`, an API key's name) wants of a loop in the state `number`: a canary, another champion, or
    `back` to the stage before; and why."""

    number: int
    who: str
    canary: Canary | None = None
    champion: str | None = None
    back: bool = False
    because: str = ""


class Changer:
    """Changes the states in `loops`, which this replica is `following`. With `logs` a line tells of each change."""

    def __init__(self, loops: Loops, following: Following, *, logs: bool) -> None:
        self._loops = loops
        self._following = following
        self._logs = logs

    async def evidence(self, loop: str) -> Verdict | None:
        """The evidence of a loop; None without any that can be read."""
        text = await self._loops.evidence(loop)
        try:
            return None if text is None else verdicts.decode(loop, text)
        except CorruptState as error:
            _log.warning("%s", error)
            return None

    async def health(self, loop: str) -> LoopHealth | None:
        """Whether the rewards of a loop find their decisions; None if no readable health is kept."""
        text = (await self._loops.healths([loop])).get(loop)
        try:
            return None if text is None else healths.decode(loop, text)
        except CorruptState as error:
            _log.warning("%s", error)
            return None

    async def audit(self, loop: str) -> list[Change]:
        """The last changes of a loop, the newest first."""
        return await self._loops.audit(loop)

    async def change(self, plan: Plan, wanted: Wanted) -> None:
        """Change who serves, for all replicas; nothing is changed if it is so already.

        Raises BadChange, Stale, NotYet, and the store's errors.
        """
        loop = plan.loop.name
        evidence, health = await self.evidence(loop), await self.health(loop)
        nonce = secrets.token_hex(8)

        def make(found: Standing | None, now: int) -> Changed | None:
            if found is not None and found.nonce == nonce:
                return None  # it was written, and the reply was lost
            standing = found or Standing(0, secrets.token_hex(8), "", Stage(0, plan.loop.champion))
            if wanted.number != standing.number:
                raise Stale(standing.number)
            to = _stage(plan, standing, wanted)
            if (to.champion, to.canary) == (standing.now.champion, standing.now.canary):
                return None
            # From a champion the way back is always open.
            if not wanted.because and not (wanted.back and to.champion != standing.now.champion):
                age = 0 if evidence is None else max(now // 1_000 - evidence.at, 0)
                _check(plan, standing, to, Known(evidence, health, age))
            entry = _entry(standing, to, wanted, evidence, now)
            former = standing.former[1:] if wanted.back else [standing.now, *standing.former][:MOST_FORMER]
            after = Standing(to.number, standing.epoch, nonce, to, former)
            return Changed(after, entry, self._line(loop, after, standing.now, entry) if self._logs else None)

        await self._loops.change(loop, make)
        await self._following.refresh()

    def _line(self, loop: str, after: Standing, before: Stage, entry: Change) -> bytes:
        """The line of the log: it belongs to no user, and is named by the state."""
        change: dict[str, Any] = {**msgspec.to_builtins(entry), "from": msgspec.to_builtins(before)}
        return lines.encode(
            lines.State(
                user="",
                epoch=after.epoch,
                seq=after.number,
                ts=lines.moment(entry.at),
                what="loop",
                loop=loop,
                change=change,
            )
        )


def against(plan: Plan, now: Stage, to: Stage, known: Known) -> list[str]:
    """The objections to the step of a loop from one stage to another; none if the rule of its rung holds."""
    return objections(now, to, known, [policy.id for policy in plan.policies if is_certain(policy)])


def _stage(plan: Plan, standing: Standing, wanted: Wanted) -> Stage:
    """The stage that is wanted. Raises BadChange."""
    number, now = standing.number + 1, standing.now
    if wanted.back:
        if not standing.former:
            raise BadChange("back: there is no stage before this one")
        return msgspec.structs.replace(standing.former[0], number=number)
    named = wanted.champion if wanted.canary is None else wanted.canary.policy
    known = sorted(policy.id for policy in plan.policies)
    if named not in known:
        raise BadChange(f"takes a policy of the loop, and {str(named)[:64]!r} is none; there are {', '.join(known)}")
    if wanted.canary is None:
        return Stage(number, str(named))
    if named == now.champion:
        raise BadChange(f"canary: {named} is the champion, and cannot be its own canary")
    return Stage(number, now.champion, wanted.canary)


def _check(plan: Plan, standing: Standing, to: Stage, known: Known) -> None:
    """Raise NotYet unless the rule of the rung holds."""
    reasons = against(plan, standing.now, to, known)
    if reasons:
        raise NotYet(reasons, standing.number, known.verdict)


def _entry(standing: Standing, to: Stage, wanted: Wanted, evidence: Verdict | None, now: int) -> Change:
    policy = challenger(standing.now, to)
    seen = None if evidence is None or policy is None else verdicts.shown(evidence, policy)
    return Change(to.number, now, wanted.who, to, wanted.back, wanted.because, seen)
