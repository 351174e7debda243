"""The page of a user: what each policy has learned, what it would choose at each hour, history, and open decisions."""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from app.bandit.policy import Policy
from app.console.bars import Bar, Scale, shade
from app.console.draft import as_text, example, request_of, sweep, typed
from app.console.pages import Page, Shown, Visit
from app.decisions.asked import Asked
from app.decisions.errors import BadDecision
from app.decisions.preview import Preview, Row
from app.decisions.users import Learned, Users
from app.messages.decision_ids import decision_id
from app.messages.decisions import DecisionRequest
from app.messages.reading import Unreadable
from app.policies.plan import Plan
from state.values.record import Meta

__all__ = ["Heat", "Weight", "heat", "user_pages", "weights"]

_LONGEST: Final = 256
_COLUMNS: Final = 48
_ENTRIES: Final = 20
# Candidates that a picture has room for.
_LINES: Final = 12
_SEED: Final = 1


class Weight(NamedTuple):
    """What a policy holds a column to be worth, and how sure it is; `zero` is the place of 0."""

    label: str
    theta: float
    error: float
    bar: Bar
    range: Bar
    zero: int


class Model(NamedTuple):
    """What a policy has learned: its counters, its columns, and how many of these are left out. `serves` are the loops
    in which it is champion or canary."""

    policy: str
    serves: list[str]
    meta: Meta
    weights: list[Weight]
    hidden: int


class Cell(NamedTuple):
    """A candidate at one value of the field: the shade of its score, and whether its propensity is the highest."""

    shade: int
    is_best: bool
    score: float
    propensity: float


class Heat(NamedTuple):
    """A picture of the scores of candidates by the values of a field, and for each value the choice."""

    field: str
    values: list[Any]
    lines: list[tuple[str, list[Cell]]]
    hidden: int
    low: float
    high: float
    choices: list[tuple[Any, str, float, float | None]]


def user_pages(
    users: Users,
    preview: Preview,
    plans: Mapping[str, Plan],
    *,
    asked_of: Callable[[DecisionRequest], Asked],
    give_way: Callable[[], Awaitable[None]],
) -> list[Page]:
    """The pages of users, whose choices are shown for the loops of `plans`."""

    async def find(visit: Visit) -> Shown:
        user = visit.query.get("user", "").strip()
        return await of(visit, user) if user else Shown("users.html", "Users", {})

    async def show(visit: Visit) -> Shown:
        return await of(visit, visit.parts["user_id"])

    async def of(visit: Visit, user: str) -> Shown:
        if len(user) > _LONGEST:
            raise Unreadable(f"a user id has 1 to {_LONGEST} characters")
        learned = await users.learned(user)
        count, waiting = await preview.waiting(user)
        history = (await users.history(user))[::-1]
        wanted = _wanted(visit, plans, [each.policy.id for each in learned])
        values: dict[str, Any] = {
            "user": user,
            "models": [_model(each, plans) for each in learned],
            "open_count": count,
            "open": [(decision_id(local, user), made) for local, made in waiting],
            "entries": history[:_ENTRIES],
            "entries_count": len(history),
            "loops": list(plans),
            **wanted,
            "heat": None,
            "problem": "",
        }
        if wanted["plan"] is not None:
            try:
                values["heat"] = await picture(user, wanted)
            except (Unreadable, BadDecision) as error:
                values["problem"] = str(error)
        return Shown("user.html", f"User {user}", values)

    async def picture(user: str, wanted: Mapping[str, Any]) -> Heat | None:
        plan: Plan = wanted["plan"]
        field, over = sweep(plan)
        if not field:
            return None
        asked = asked_of(request_of(typed(wanted["request"]), user, plan.loop.name))
        rows = await preview.across(asked, wanted["policy"], field, values=over, seed=_SEED, pause=give_way)
        return heat(field, rows, [asked.candidates[place].id for place in asked.allowed()])

    return [Page("/users", find, "Users"), Page("/users/{user_id:str}", show)]


def _wanted(visit: Visit, plans: Mapping[str, Plan], known: Sequence[str]) -> dict[str, Any]:
    """The loop, the policy and the request to show; by default a loop whose champion knows the user, and an example."""
    first = next((name for name, plan in plans.items() if plan.policies[0].id in known), next(iter(plans), ""))
    loop = visit.query.get("loop", first)
    plan = plans.get(loop)
    if plan is None:
        return {"plan": None, "loop": loop, "policy": None, "request": ""}
    policy = next((each for each in plan.policies if each.id == visit.query.get("policy")), plan.policies[0])
    text = visit.query.get("request", "")
    if not text or visit.query.get("request_of") != loop:
        at = time.gmtime(visit.now)
        text = as_text(example(plan, at.tm_hour, at.tm_wday))
    return {"plan": plan, "loop": loop, "policy": policy, "request": text}


def _model(learned: Learned, plans: Mapping[str, Plan]) -> Model:
    policy: Policy = learned.policy
    serving = [name for name, plan in plans.items() if policy.id in _serving(plan)]
    found, hidden = weights(policy.labels, learned.theta, learned.errors)
    return Model(policy.id, serving, learned.meta, found, hidden)


def _serving(plan: Plan) -> set[str]:
    stage = plan.stage
    return {stage.champion} if stage.canary is None else {stage.champion, stage.canary.policy}


def weights(labels: Sequence[str], theta: Sequence[float], errors: Sequence[float]) -> tuple[list[Weight], int]:
    """The columns as bars, each with the range of its standard error, and how many are left out: those nearest to 0."""
    largest = sorted(range(len(labels)), key=lambda place: -abs(theta[place]))[:_COLUMNS]
    kept = sorted(largest)
    ends = [theta[place] + sign * errors[place] for place in kept for sign in (-1, 1)]
    scale = Scale.over(ends)
    found = [
        Weight(
            labels[place],
            theta[place],
            errors[place],
            scale.bar(0.0, theta[place]),
            scale.bar(theta[place] - errors[place], theta[place] + errors[place]),
            scale.zero,
        )
        for place in kept
    ]
    return found, len(labels) - len(kept)


def heat(field: str, rows: Sequence[Row], ids: Sequence[str]) -> Heat:
    """The picture of `rows`, one for each value of `field`, of the candidates with these ids."""
    scores = [score for row in rows for score in row.scores]
    low, high = min(scores), max(scores)
    best = [max(range(len(ids)), key=row.propensities.__getitem__) for row in rows]
    # Those that are the best somewhere, then the others.
    often = sorted(range(len(ids)), key=lambda place: -best.count(place))
    kept = sorted(often[:_LINES])
    lines = [
        (
            ids[at],
            [
                Cell(shade(row.scores[at], low, high), at == first, row.scores[at], row.propensities[at])
                for row, first in zip(rows, best, strict=True)
            ],
        )
        for at in kept
    ]
    choices = [
        (row.value, ids[first], row.propensities[first], _margin(row.scores, first))
        for row, first in zip(rows, best, strict=True)
    ]
    return Heat(field, [row.value for row in rows], lines, len(ids) - len(kept), low, high, choices)


def _margin(scores: Sequence[float], first: int) -> float | None:
    """By how much a score is above the best of the others; None if there is no other."""
    others = [score for place, score in enumerate(scores) if place != first]
    return scores[first] - max(others) if others else None
