"""The page of a loop: who serves it, on what evidence, and the ladder by which that changes."""

from collections.abc import Mapping
from typing import Any, Final

from app.console.loops.evidence import courses, delays, estimates, gates, judged, said
from app.console.loops.hours import day, hours, interval, joined, plots
from app.console.loops.rungs import challengers, former, wanted
from app.console.pages import Moved, Page, Shown, Sources, Visit
from app.decisions.errors import NoLoop
from app.experiments.errors import BadChange, NotYet, Stale
from app.experiments.ladder import LONGEST_AGE, Known
from app.experiments.verdict import Verdict
from app.messages.pipeline import LoopHealth
from app.messages.reading import Unreadable
from app.policies.plan import Plan

__all__ = ["loop"]

_SHOWN_NAME: Final = 64
# The fields of the forms of the ladder, which a page shows again when nothing was changed.
_EMPTY: Final = dict.fromkeys(("step", "policy", "share", "because"), "")


def loop(sources: Sources) -> Page:
    """The page. Raises NoLoop, and the store's errors."""

    def named(visit: Visit) -> Plan:
        plan = sources.plans.get(visit.parts["loop"])
        if plan is None:
            raise NoLoop(
                f"there is no loop {visit.parts['loop'][:_SHOWN_NAME]!r}, there are {', '.join(sources.plans)}"
            )
        return plan

    async def shown(visit: Visit, told: Mapping[str, Any], status: int = 200) -> Shown:
        await sources.following.refresh()
        plan = named(visit)
        name = plan.loop.name
        verdict, changes = await sources.changer.evidence(name), await sources.changer.audit(name)
        health = await sources.changer.health(name)
        age = 0 if verdict is None else max(int(visit.now) - verdict.at, 0)
        values = {
            "plan": plan,
            "state": sources.following.number(name),
            "former": former(sources.following.standings.get(name)),
            "changes": changes,
            "challengers": challengers(plan, Known(verdict, health, age)),
            "age": age,
            "is_old": age > LONGEST_AGE,
            **_evidence(plan, verdict),
            **_health(health),
            **_unread(plan),
            **told,
        }
        return Shown("loop.html", f"Loop {name}", values, status)

    async def show(visit: Visit) -> Shown:
        named(visit)
        return await shown(visit, {"problem": "", "form": _EMPTY, "done": visit.query.get("done", "")})

    async def act(visit: Visit, form: Mapping[str, str]) -> Shown | Moved:
        plan = named(visit)
        name = plan.loop.name
        try:
            await sources.changer.change(plan, wanted(form, visit.who))
        except NotYet as error:
            problem, status = f"{error}. With a reason it is done all the same", 409
        except Stale as error:
            changed = f"somebody has changed the loop, whose state is {error.number} now"
            problem, status = f"{changed}. Look again at what serves, and at the evidence", 412
        except (BadChange, Unreadable) as error:
            problem, status = str(error), 422
        else:
            return Moved(f"{visit.path}?done={sources.following.number(name)}")
        return await shown(visit, {"problem": problem, "form": {**_EMPTY, **form}, "done": ""}, status)

    return Page("/loops/{loop:str}", show, act=act)


def _evidence(plan: Plan, verdict: Verdict | None) -> dict[str, Any]:
    if verdict is None:
        return {"verdict": None}
    rows = judged(plan, verdict)
    bounds, unbound = gates(rows, plan.loop.high - plan.loop.low)
    shown = {"estimates": estimates(rows, verdict), "gates": bounds, "unbound": unbound}
    return {"verdict": verdict, "rows": rows, "said": said(rows), **shown}


def _health(health: LoopHealth | None) -> dict[str, Any]:
    if health is None:
        return {"health": None}
    by_policy = [(name, each, joined(each), interval(each)) for name, each in health.by_policy.items()]
    return {
        "health": health,
        "day": day(health),
        "before": joined(health.before),
        "hours": hours(health),
        "plots": plots(health, hints=True),
        "by_policy": by_policy,
        "delays": delays(health),
        "courses": courses(health),
    }


def _unread(plan: Plan) -> dict[str, Any]:
    """The fields that decisions had and no policy reads, and the features that lacked a value, most frequent first."""
    counts = plan.unread
    features = {feature.name: feature for feature in plan.encoder.features}
    unknown = sorted(counts.fields.items(), key=lambda pair: (-pair[1], pair[0]))
    lacked = sorted(counts.features.items(), key=lambda pair: (-pair[1], pair[0]))
    return {
        "decisions": counts.decisions,
        "unknown": [(of, field, number) for (of, field), number in unknown],
        "others": counts.others,
        "lacked": [(name, features[name].of, features[name].field, number) for name, number in lacked],
    }
