"""Stand-ins for what follows the states of loops, and evidence as it may be."""

from collections.abc import Sequence

import msgspec

from app.evaluation.evidence import Evidence, Judged
from app.evaluation.gate import Bounds
from app.evaluation.overlap import Refusal
from app.experiments.verdict import Verdict

__all__ = ["Followed", "gate", "verdict"]


class Followed:
    """Finds these `problems`, one at each look, and then none."""

    def __init__(self, problems: Sequence[str | None] = ()) -> None:
        self._left = list(problems)
        self.began = False
        self.problem: str | None = None

    async def refresh(self) -> None:
        self.problem = self._left.pop(0) if self._left else None
        self.began = self.began or self.problem is None


def gate(low: float, high: float, *, needed: int | None = 0, refused: str = "") -> Bounds:
    return Bounds(low, high, 3.0, 5_000, needed, refused)


def verdict(
    bounds: Bounds | None, *rules: str, policy: str = "watches", champion: str = "serves", at: int = 1_000
) -> Verdict:
    """Evidence of a loop with a champion and one challenger, which is refused by these rules."""
    judged = Judged(
        n=5_000,
        snips=None,
        ips=None,
        dr=None,
        ess=900.0,
        max_weight_share=0.01,
        mean_weight_z=0.1,
        draws_p=0.4,
        gate=None,
        refused=[],
        warnings=[],
        masses=[],
        rewards=None,
        gates=None,
    )
    refused = [Refusal(rule, f"{rule} is wrong", "mend it") for rule in rules]
    found = Evidence(
        loop="plain",
        champion=champion,
        decisions=6_000,
        matured=5_000,
        rewarded=4_000,
        logging=None,
        clustered_by="users",
        clusters=40,
        ends=[],
        draws_since=None,
        policies={champion: judged, policy: msgspec.structs.replace(judged, gate=bounds, refused=refused)},
        baselines={},
    )
    return Verdict(at, champion, found)
