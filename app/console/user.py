"""The page of a user: what each policy has learned, what it would choose at each hour, history, and open decisions."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from app.console.choices.draft import as_text, example, request_of, sweep, typed
from app.console.choices.learned import Heat, Weight, heat, weights
from app.console.pages import Page, Shown, Sources, Visit
from app.decisions.errors import BadDecision
from app.decisions.users import Learned
from app.messages.decision_ids import decision_id
from app.messages.reading import Unreadable
from app.policies.plan import Plan
from state.values.record import Meta

__all__ = ["find_user", "user"]

_LONGEST: Final = 256
_ENTRIES: Final = 20
_OPEN: Final = 20
_RECORDS: Final = 256
# Of one model, of all of them, and of each however many there are; and models whose columns are shown.
_COLUMNS: Final = 48
_COLUMNS_IN_ALL: Final = 240
_COLUMNS_AT_LEAST: Final = 8
_MODELS: Final = 24
_SEED: Final = 1


class Model(NamedTuple):
    """What a policy has learned: its counters, its columns, and how many of these are left out. `serves` are the loops
    in which it is champion or canary."""

    policy: str
    serves: list[str]
    meta: Meta
    weights: list[Weight]
    hidden: int


def find_user(sources: Sources) -> Page:
    """The page that asks for a user's id, and shows that user."""

    async def show(visit: Visit) -> Shown:
        found = visit.query.get("user_id", "").strip()
        return await _shown(sources, visit, found) if found else Shown("users.html", "Users", {})

    return Page("/users", show, "Users")


def user(sources: Sources) -> Page:
    """The page of one user."""
    return Page("/users/{user_id:str}", lambda visit: _shown(sources, visit, visit.parts["user_id"]))


async def _shown(sources: Sources, visit: Visit, user_id: str) -> Shown:
    if len(user_id) > _LONGEST:
        raise Unreadable(f"a user id has 1 to {_LONGEST} characters")
    learned = await sources.users.learned(user_id)
    waiting = await sources.preview.waiting(user_id)
    # One user may have any number of decisions, and all of them are read only where they are few.
    few = waiting.records <= _RECORDS
    made = await sources.users.open(user_id) if few else waiting.first
    history = (await sources.users.history(user_id))[::-1]
    wanted = _wanted(visit, sources.plans, [each.policy.id for each in learned])
    values: dict[str, Any] = {
        "user": user_id,
        "models": _models(learned, sources.plans),
        "open_count": len(made) if few else waiting.open,
        "open": [(decision_id(local, user_id), one) for local, one in made[::-1][:_OPEN]],
        "entries": history[:_ENTRIES],
        "entries_count": len(history),
        "loops": list(sources.plans),
        **wanted,
        "heat": None,
        "problem": "",
    }
    if wanted["plan"] is not None:
        try:
            values["heat"] = await _picture(sources, user_id, wanted)
        except (Unreadable, BadDecision) as error:
            values["problem"] = str(error)
    return Shown("user.html", f"User {user_id}", values)


async def _picture(sources: Sources, user_id: str, wanted: Mapping[str, Any]) -> Heat | None:
    plan: Plan = wanted["plan"]
    field, over = sweep(plan)
    if not field:
        return None
    asked = sources.asked_of(request_of(typed(wanted["request"]), user_id, plan.loop.name))
    rows = await sources.preview.across(asked, wanted["policy"], field, values=over, seed=_SEED, pause=sources.give_way)
    return heat(field, rows, [asked.candidates[place].id for place in asked.allowed()])


def _wanted(visit: Visit, plans: Mapping[str, Plan], known: Sequence[str]) -> dict[str, Any]:
    """The loop, the policy and the request to show; by default a loop whose champion knows the user, and an example."""
    first = next((name for name, plan in plans.items() if plan.policies[0].id in known), next(iter(plans), ""))
    loop = visit.query.get("loop", first)
    plan = plans.get(loop)
    if plan is None:
        return {"plan": None, "policy": None, "request": ""}
    policy = next((each for each in plan.policies if each.id == visit.query.get("policy")), plan.policies[0])
    text = visit.query.get("request", "")
    if not text or visit.query.get("request_of") != loop:
        at = time.gmtime(visit.now)
        text = as_text(example(plan, at.tm_hour, at.tm_wday))
    return {"plan": plan, "policy": policy, "request": text}


def _models(learned: Sequence[Learned], plans: Mapping[str, Plan]) -> list[Model]:
    """What policies have learned: first those that serve a loop. The more there are, the fewer columns has each."""
    most = max(_COLUMNS_AT_LEAST, min(_COLUMNS, _COLUMNS_IN_ALL // max(1, len(learned))))
    serving = {
        each.policy.id: [name for name, plan in plans.items() if each.policy.id in _serving(plan)] for each in learned
    }
    models = []
    for place, each in enumerate(sorted(learned, key=lambda each: not serving[each.policy.id])):
        name, labels = each.policy.id, each.policy.labels
        found = weights(labels, each.theta, each.errors, most=most if place < _MODELS else 0)
        models.append(Model(name, serving[name], each.meta, *found))
    return models


def _serving(plan: Plan) -> set[str]:
    stage = plan.stage
    return {stage.champion} if stage.canary is None else {stage.champion, stage.canary.policy}
