"""Try it: edit a request and see the decision that it would get now. Nothing is stored."""

import time
from collections.abc import Mapping
from typing import Any, Final

from app.console.choices.draft import MOST_ROWS, as_text, example, fields_of, fits, request_of, typed, untyped
from app.console.decision import told
from app.console.pages import Page, Shown, Sources, Visit
from app.decisions.errors import BadDecision
from app.messages.reading import Unreadable
from app.policies.plan import Plan

__all__ = ["trial"]

_SEEDS: Final = 1_000_000
_NOBODY: Final = "somebody-new"
_FORM: Final = "form"
_JSON: Final = "json"
_EMPTY: Final[Mapping[str, Any]] = {"fields": {}, "mode": _JSON, "made": None, "why": None, "problem": ""}


def trial(sources: Sources) -> Page:
    """The page."""

    async def show(visit: Visit) -> Shown:
        return await act(visit, visit.query)

    async def act(visit: Visit, form: Mapping[str, str]) -> Shown:
        plans = sources.plans
        loop = form.get("loop", next(iter(plans), ""))
        user, seed = form.get("user", "").strip() or _NOBODY, _seed(form)
        values = {**_EMPTY, "user": user, "of_loop": loop, "loops": list(plans), "seed": seed}
        values["request"] = form.get("request", "")
        try:
            plan = plans.get(loop)
            if plan is None:
                raise BadDecision(f"there is no loop {loop[:64]!r}")
            raw = _raw(visit, form, plan)
            if (form.get("to") or form.get("mode") or _FORM) == _FORM and fits(raw, plan):
                values |= {"mode": _FORM, "fields": fields_of(raw, plan)}
            if values["mode"] == _FORM or form.get("mode") != _JSON or not values["request"]:
                values["request"] = as_text(raw)
            made, found = await sources.preview.decide(sources.asked_of(request_of(raw, user, loop)), seed)
        except (Unreadable, BadDecision) as error:
            return Shown("try.html", "Try it", {**values, "problem": str(error)}, 422)
        return Shown("try.html", "Try it", {**values, **told(made, found)})

    return Page("/try", show, "Try it", act=act, acts_as="reader")


def _raw(visit: Visit, form: Mapping[str, str], plan: Plan) -> dict[str, Any]:
    """The request that was sent as JSON or as a form; an example if none was, or one of another loop."""
    if form.get("request_of") != plan.loop.name:
        at = time.gmtime(visit.now)
        return example(plan, at.tm_hour, at.tm_wday)
    if form.get("mode") == _JSON:
        return typed(form.get("request", ""))
    raw = untyped(form)
    if form.get("more") and len(raw["candidates"]) < MOST_ROWS:
        raw["candidates"].append({"id": f"candidate-{len(raw['candidates']) + 1}", "features": {}})
    return raw


def _seed(form: Mapping[str, str]) -> int:
    text = form.get("seed", "1").strip()
    seed = int(text) % _SEEDS if text.isascii() and text.isdigit() and len(text) < 19 else 1
    return seed + 1 if form.get("again") else seed
