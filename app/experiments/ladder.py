"""The rungs from shadow to canary to champion, and what evidence each takes. Pure."""

from collections.abc import Collection, Iterator
from typing import Final, NamedTuple

from app.evaluation.evidence import Judged
from app.experiments.verdict import Verdict
from app.messages.pipeline import LoopHealth
from state.values.loop import Stage

__all__ = ["FIRST_SHARE", "LONGEST_AGE", "MOST_SHARE", "Known", "challenger", "objections"]

# Up to this share a canary need only do no harm; none has more than the other.
FIRST_SHARE: Final = 0.1
MOST_SHARE: Final = 0.5
# Seconds after which evidence says nothing of today.
LONGEST_AGE: Final = 86_400
# Refusals by which the log itself, or what it has of a policy, is not to be trusted. Too few decisions are no such
# reason: a canary is what makes them more.
_BROKEN: Final = frozenset({"draws", "propensities", "mean weight", "missing outcomes", "nothing"})
_SUPPORT: Final = "support"
_UNKNOWN: Final = "it is not known whether rewards find their decisions: `python -m app judge` finds out"


class Known(NamedTuple):
    """What is known of a loop: the evidence, `age` seconds old, and the health of the pipeline that led to it."""

    verdict: Verdict | None
    health: LoopHealth | None
    age: int


def challenger(now: Stage, to: Stage) -> str | None:
    """The policy that would serve more than it does; None if there is none, for which no evidence is needed."""
    if to.champion != now.champion:
        return to.champion
    old, new = now.canary, to.canary
    if new is None or (old is not None and old.policy == new.policy and new.share <= old.share):
        return None
    return new.policy


def objections(now: Stage, to: Stage, known: Known, floorless: Collection[str]) -> list[str]:
    """The objections to the step from one stage to another; none if the rule of its rung holds.

    `floorless` are the policies without a floor.
    """
    policy = challenger(now, to)
    if policy is None:
        return []
    serving = (to.champion,) if to.canary is None else (to.champion, to.canary.policy)
    found = [
        f"{name} has no floor: other policies cannot be judged by its decisions"
        for name in serving
        if name in floorless
    ]
    verdict, health, age = known
    if verdict is None:
        return [*found, "there is no evidence of this loop: `python -m app judge` makes it from the log"]
    if age > LONGEST_AGE:
        return [*found, f"the evidence is {age // 3_600} hours old, and it counts for {LONGEST_AGE // 3_600}"]
    if verdict.champion != now.champion:
        return [*found, f"the evidence is about the champion {verdict.champion}, and {now.champion} serves"]
    found += [_UNKNOWN] if health is None else health.problems
    judged = verdict.evidence.policies.get(policy)
    if judged is None:
        return [*found, f"the evidence does not know {policy}: it must have been a shadow"]
    is_first = to.champion == now.champion and to.canary is not None and to.canary.share <= FIRST_SHARE
    return [*found, *_against(judged, policy, is_first=is_first)]


def _against(judged: Judged, policy: str, *, is_first: bool) -> Iterator[str]:
    for refusal in judged.refused:
        if refusal.rule in _BROKEN or (is_first and refusal.rule == _SUPPORT):
            yield f"{refusal.why}: {refusal.help}"
    gate = judged.gate
    if gate is None:
        yield f"the evidence has no gate for {policy}"
    elif gate.refused:
        yield f"the gate has no bound: {gate.refused}"
    elif is_first and gate.high < 0.0:
        yield f"{policy} does harm: it earns at least {-gate.high:.3g} less than the champion"
    elif not is_first and gate.low <= 0.0:
        more = "" if gate.needed is None else f"; about {gate.needed:,} more decisions may show it"
        yield f"{policy} is not known to be better: it earns between {gate.low:+.3g} and {gate.high:+.3g} more{more}"
