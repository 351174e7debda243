"""Loops: who serves each, what its rewards are, and what its decisions bring that nothing reads."""

from collections.abc import Mapping
from typing import Any, Final, TypeVar

from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from app.decisions.errors import NoLoop
from app.http.access import READER
from app.http.body import Answer
from app.messages.loops import LackedFeature, LoopAnswer, LoopsAnswer, LoopState, UnknownField
from app.policies.loop import Loop
from app.policies.plan import Plan

__all__ = ["loop_routes"]

T = TypeVar("T")
_SHOWN: Final = 64


def loop_routes(plans: Mapping[str, Plan]) -> list[HTTPRouteHandler]:
    """The routes of loops, which are those of `plans`."""

    @get("/loops", opt=READER)
    async def show_loops() -> Answer:
        return Answer(LoopsAnswer([LoopState(**_settings(plan.loop)) for plan in plans.values()]))

    @get("/loops/{loop:str}", opt=READER)
    async def show_loop(loop: FromPath[str]) -> Answer:
        plan = plans.get(loop)
        if plan is None:
            raise NoLoop(f"there is no loop {loop[:_SHOWN]!r}, there are {', '.join(plans)}")
        return Answer(_loop(plan))

    return [show_loops, show_loop]


def _settings(loop: Loop) -> dict[str, Any]:
    return {
        "loop": loop.name,
        "champion": loop.champion,
        "shadows": list(loop.shadows),
        "window_seconds": loop.window,
        "reward_min": loop.low,
        "reward_max": loop.high,
        "default_reward": loop.default_reward,
        "late": loop.late,
        "aggregation": loop.aggregation,
        "open_max": loop.open_max,
    }


def _loop(plan: Plan) -> LoopAnswer:
    counts = plan.unread
    features = {feature.name: feature for feature in plan.encoder.features}
    unknown = sorted(counts.fields.items(), key=_most_first)
    lacked = sorted(counts.features.items(), key=_most_first)
    return LoopAnswer(
        **_settings(plan.loop),
        missing=plan.loop.missing,
        unknown_features="refuse" if plan.loop.refuses_unknown else "keep",
        decisions=counts.decisions,
        unknown_fields=[UnknownField(of, field, count) for (of, field), count in unknown],
        other_unknown_fields=counts.others,
        lacked_features=[LackedFeature(name, features[name].of, features[name].field, count) for name, count in lacked],
    )


def _most_first(pair: tuple[T, int]) -> tuple[int, T]:
    return -pair[1], pair[0]
