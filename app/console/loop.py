"""The page of a loop: who serves it, on what evidence, and the ladder by which that changes."""

from collections.abc import Mapping

from app.console.pages import Moved, Page, Shown, Sources, Visit
from app.decisions.errors import NoLoop
from app.policies.plan import Plan

__all__ = ["loop"]


def loop(sources: Sources) -> Page:
    """The page."""

    def named(visit: Visit) -> Plan:
        plan = sources.plans.get(visit.parts["loop"])
        if plan is None:
            raise NoLoop(f"there is no loop {visit.parts['loop'][:64]!r}, there are {', '.join(sources.plans)}")
        return plan

    async def show(visit: Visit) -> Shown:
        plan = named(visit)
        return Shown("loop.html", f"Loop {plan.loop.name}", {"plan": plan})

    async def act(visit: Visit, _: Mapping[str, str]) -> Shown | Moved:
        named(visit)
        return Moved(visit.path)

    return Page("/loops/{loop:str}", show, act=act)
