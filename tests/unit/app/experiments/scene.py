"""Stand-ins for what follows the states of loops, and evidence as it may be."""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import structs

from app.evaluation.evidence import Evidence, Judged
from app.evaluation.gate import Bounds
from app.evaluation.overlap import Refusal
from app.experiments.verdict import Verdict
from app.messages.pipeline import HealthHour, Joined, LoopHealth

__all__ = ["Followed", "gate", "healthy", "joined", "verdict"]


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


def joined(matured: int = 1_000, rewarded: int = 500, late: int = 0) -> Joined:
    """Decisions of which so many have a reward, which is 0.5."""
    total, squares = 0.5 * rewarded, 0.25 * rewarded
    counts = {"matured": matured, "rewarded": rewarded, "late": late, "defaulted": 0, "counted": rewarded}
    return Joined(**counts, total=total, squares=squares)


def healthy(**other: Any) -> LoopHealth:
    """The health of a loop as it should be, but for what is said."""
    hour = HealthHour(
        **structs.asdict(joined(40, 20)),
        at="2026-11-29T09:00:00Z",
        decisions=40,
        explored=4,
        answered=20,
        served={"serves": 40},
    )
    said: dict[str, Any] = {
        "at": "2026-11-29T10:00:00Z",
        "as_of": "2026-11-29T09:59:59Z",
        "champion": "serves",
        "problems": [],
        "hours": [hour] * 72,
        "day": joined(),
        "before": joined(7_000, 3_500),
        "by_policy": {"serves": joined()},
        "delay_edges": [1.0, 3.0],
        "delays": [0, 400, 100],
        "delay_median": 2.0,
        "columns": [],
        "features": [],
        "gates": {},
    }
    return LoopHealth(**said | other)


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
