"""Somebody who looks at the console, and what there is to see."""

import math
import time
from typing import Any

import msgspec

from app.console.pages import Visit
from app.messages.pipeline import GatePoint, HealthHour, Joined, LoopHealth
from app.policies.catalog import catalog
from app.policies.plan import Plan, Plans
from state.values.loop import Canary, Stage, Standing

__all__ = ["NOW", "busy", "plan", "told", "visit"]

NOW = 1_795_438_044.0
_HOUR = int(NOW) // 3_600
_EDGES = [60.0, 300.0, 900.0, 3_600.0, 21_600.0, 86_400.0]


def visit(**more: Any) -> Visit:
    """An admin who asks for the overview, but for what `more` says."""
    seen = Visit(who="ops", acts=True, is_open=False, now=NOW, base="console", path="", parts={}, query={})
    return seen._replace(**more)


def plan(canary: Canary | None = None) -> Plan:
    """The loop that is built in, with this canary."""
    standing = Standing(1, "e", "", Stage(1, "egreedy-v1", canary))
    return Plans(catalog, lambda: {"tips": standing})["tips"]


def moment(seconds: float) -> str:
    """A moment (Unix seconds) as messages have it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def told(matured: int, *, mean: float = 0.2, share: float = 0.9) -> Joined:
    """So many matured decisions, of which this share found a reward, of this mean."""
    rewarded = int(matured * share)
    return Joined(
        matured=matured,
        rewarded=rewarded,
        late=rewarded // 50,
        defaulted=0,
        counted=matured,
        total=matured * mean,
        squares=matured * 0.5,
    )


def busy(**more: Any) -> LoopHealth:
    """A loop whose champion and canary serve, with nights; the last day has not matured."""
    hours = []
    for n in range(72):
        decisions = int(120 + 100 * math.sin((n + _HOUR) / 24 * 2 * math.pi))
        found = told(decisions if n < 47 else 0, mean=0.2 + 0.05 * math.sin(n / 9))
        hours.append(
            HealthHour(
                at=moment((_HOUR - 71 + n) * 3_600),
                decisions=decisions,
                explored=decisions // 9,
                answered=decisions * 8 // 10,
                served={"egreedy-v1": decisions - decisions // 10, "tips-v3": decisions // 10},
                **{name: getattr(found, name) for name in Joined.__struct_fields__},
            )
        )
    gates = [
        GatePoint(
            at=moment(NOW - 3_600 * (60 - n)),
            champion="egreedy-v1",
            low=0.05 - 1.2 / (n + 2),
            high=0.05 + 1.2 / (n + 2),
            log_e_value=n / 20,
            n=100 * n,
            needed=max(5_000 - 100 * n, 0),
        )
        for n in range(60)
    ]
    made = LoopHealth(
        at=moment(NOW - 900),
        as_of=moment(NOW - 960),
        champion="egreedy-v1",
        problems=[],
        hours=hours,
        day=told(2_880),
        before=told(20_000, share=0.92),
        by_policy={"egreedy-v1": told(2_592), "tips-v3": told(288, share=0.85)},
        delay_edges=_EDGES,
        delays=[300, 900, 700, 400, 200, 90, 2],
        delay_median=540.0,
        columns=[],
        features=[],
        gates={"tips-v3": gates},
    )
    return msgspec.structs.replace(made, **more)
