"""The first page: the loops, what they earn, and the health of the replica that answers."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from app.console.loops.hours import Day, Hour, Plots, day, hours, plots
from app.console.pages import Page, Shown, Sources, Visit
from app.drawing.words import unix
from app.messages.pipeline import LoopHealth
from app.policies.plan import Plan
from state.values.loop import Canary

__all__ = ["overview"]

# Loops beyond these have their plots on their own pages.
_MOST_PLOTTED: Final = 2


class Row(NamedTuple):
    """A loop in the table. What `judge` has counted is None until it runs, then `age` seconds old."""

    name: str
    champion: str
    canary: Canary | None
    shadows: Sequence[str]
    health: LoopHealth | None
    day: Day | None
    age: int


class Plotted(NamedTuple):
    """A loop's hours."""

    name: str
    health: LoopHealth
    hours: Sequence[Hour]
    plots: Plots


def overview(sources: Sources) -> Page:
    """The page."""

    async def show(visit: Visit) -> Shown:
        rows = [_row(plan, sources.health_of(name), visit.now) for name, plan in sources.plans.items()]
        known = [row for row in rows if row.health is not None and any(each.decisions for each in row.health.hours)]
        values = {
            "rows": rows,
            "plotted": [_plotted(row.name, row.health) for row in known[:_MOST_PLOTTED] if row.health is not None],
            "others": [row.name for row in known[_MOST_PLOTTED:]],
            "unjudged": [row.name for row in rows if row.health is None],
            "problems": [
                (row.name, row.health.problems) for row in rows if row.health is not None and row.health.problems
            ],
            "seen": await sources.seen(),
        }
        return Shown("overview.html", "Overview", values)

    return Page("", show, name="Overview")


def _row(plan: Plan, health: LoopHealth | None, now: float) -> Row:
    stage, serving = plan.stage, 1 if plan.stage.canary is None else 2
    return Row(
        plan.loop.name,
        stage.champion,
        stage.canary,
        [policy.id for policy in plan.policies[serving:]],
        health,
        None if health is None else day(health),
        0 if health is None else max(int(now) - unix(health.at), 0),
    )


def _plotted(name: str, health: LoopHealth) -> Plotted:
    return Plotted(name, health, hours(health), plots(health, hints=False))
