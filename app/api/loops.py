"""Loops: which policies serve, the rules for rewards, fields that no policy reads; and changes of who serves."""

import time
from collections.abc import Mapping
from typing import Any, Final, TypeVar

from litestar import Request, get, put
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from msgspec import convert

from app.decisions.errors import NoLoop
from app.experiments.change import Changer, Wanted
from app.experiments.errors import NotYet, Stale
from app.experiments.following import Following
from app.experiments.verdict import Verdict
from app.http.access import ADMIN, KEY_NAME, READER
from app.http.body import Answer, read_body
from app.http.headers import named_state
from app.messages.decisions import CanaryShare
from app.messages.loops import (
    EstimateOf,
    EvidenceOfPolicy,
    GateBounds,
    LackedFeature,
    LoopAnswer,
    LoopChange,
    LoopEvidence,
    LoopFile,
    LoopRequest,
    LoopsAnswer,
    LoopState,
    NotYetAnswer,
    UnknownField,
)
from app.messages.pipeline import LoopHealth
from app.messages.reading import Reader, Unreadable
from app.policies.plan import Plan
from state.values.loop import Canary, Change

__all__ = ["loop_routes"]

T = TypeVar("T")
_SHOWN: Final = 64
_read: Final = Reader(LoopRequest)


def loop_routes(
    plans: Mapping[str, Plan], following: Following, changer: Changer, max_body_bytes: int
) -> list[HTTPRouteHandler]:
    """The routes of loops, which are those of `plans`."""

    def named(loop: str) -> Plan:
        plan = plans.get(loop)
        if plan is None:
            raise NoLoop(f"there is no loop {loop[:_SHOWN]!r}, there are {', '.join(plans)}")
        return plan

    async def answer(loop: str) -> Answer:
        evidence, health, changes = await changer.evidence(loop), await changer.health(loop), await changer.audit(loop)
        state = str(following.number(loop)).encode()
        return Answer(_loop(named(loop), following, evidence, health, changes), ((b"etag", b'"%s"' % state),))

    @get("/loops", opt=READER)
    async def show_loops() -> Answer:
        return Answer(LoopsAnswer([LoopState(**_settings(plan, following)) for plan in plans.values()]))

    @get("/loops/{loop:str}", opt=READER)
    async def show_loop(loop: FromPath[str]) -> Answer:
        named(loop)
        await following.refresh()
        return await answer(loop)

    @put("/loops/{loop:str}", opt=ADMIN)
    async def change_loop(request: Request[Any, Any, Any], loop: FromPath[str]) -> Answer:
        body = _read(await read_body(request, max_body_bytes))
        who = str(request.scope["state"].get(KEY_NAME, ""))
        try:
            await changer.change(named(loop), _wanted(body, named_state(request), who))
        except Stale as error:
            raise HTTPException(status_code=412, detail=str(error)) from None
        except NotYet as error:
            return Answer(NotYetAnswer(str(error), error.number, _evidence(error.verdict)), status=409)
        return await answer(loop)

    return [show_loops, show_loop, change_loop]


def _wanted(body: LoopRequest, number: int, who: str) -> Wanted:
    if (body.canary is not None) + (body.champion is not None) + body.back != 1:
        raise Unreadable("takes one of canary, champion and back")
    canary = None if body.canary is None else Canary(body.canary.policy, body.canary.share)
    because = " ".join(body.because.split())
    return Wanted(number=number, who=who, canary=canary, champion=body.champion, back=body.back, because=because)


def _settings(plan: Plan, following: Following) -> dict[str, Any]:
    loop, stage = plan.loop, plan.stage
    serving = 1 if stage.canary is None else 2
    return {
        "loop": loop.name,
        "state": following.number(loop.name),
        "champion": stage.champion,
        "canary": _canary(stage.canary),
        "shadows": [policy.id for policy in plan.policies[serving:]],
        "file": LoopFile(loop.champion, list(loop.shadows)),
        "window_seconds": loop.window,
        "reward_min": loop.low,
        "reward_max": loop.high,
        "default_reward": loop.default_reward,
        "late": loop.late,
        "aggregation": loop.aggregation,
        "open_max": loop.open_max,
    }


def _loop(
    plan: Plan, following: Following, evidence: Verdict | None, health: LoopHealth | None, changes: list[Change]
) -> LoopAnswer:
    counts = plan.unread
    features = {feature.name: feature for feature in plan.encoder.features}
    unknown = sorted(counts.fields.items(), key=_most_first)
    lacked = sorted(counts.features.items(), key=_most_first)
    return LoopAnswer(
        **_settings(plan, following),
        missing=plan.loop.missing,
        evidence=_evidence(evidence),
        health=health,
        changes=[_change(each) for each in changes],
        unknown_features="refuse" if plan.loop.refuses_unknown else "keep",
        decisions=counts.decisions,
        unknown_fields=[UnknownField(of, field, count) for (of, field), count in unknown],
        other_unknown_fields=counts.others,
        lacked_features=[LackedFeature(name, features[name].of, features[name].field, count) for name, count in lacked],
        imitated=counts.imitated,
        matched=counts.matched,
    )


def _evidence(verdict: Verdict | None) -> LoopEvidence | None:
    if verdict is None:
        return None
    found = verdict.evidence
    policies = {
        name: EvidenceOfPolicy(
            n=each.n,
            estimate=convert(each.snips, EstimateOf | None, from_attributes=True),
            gate=convert(each.gate, GateBounds | None, from_attributes=True),
            refused=[f"{refusal.why}: {refusal.help}" for refusal in each.refused],
            warnings=each.warnings,
        )
        for name, each in found.policies.items()
    }
    moment = _time(verdict.at)
    return LoopEvidence(moment, verdict.champion, found.decisions, found.matured, found.rewarded, policies)


def _change(made: Change) -> LoopChange:
    return LoopChange(
        state=made.number,
        at=_time(made.at // 1_000),
        who=made.who,
        champion=made.to.champion,
        canary=_canary(made.to.canary),
        back=made.went_back,
        because=made.because,
        evidence=None if made.evidence is None else made.evidence.digest,
    )


def _canary(found: Canary | None) -> CanaryShare | None:
    return None if found is None else CanaryShare(found.policy, found.share)


def _time(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _most_first(pair: tuple[T, int]) -> tuple[int, T]:
    return -pair[1], pair[0]
