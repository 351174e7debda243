"""Try it: a request that is edited, and the decision that it would get now. Nothing is stored."""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from app.console.decision import shown
from app.console.draft import MOST_ROWS, as_text, example, fields_of, request_of, typed, untyped
from app.console.pages import Page, Shown, Visit
from app.decisions.asked import Asked
from app.decisions.errors import BadDecision
from app.decisions.preview import Preview
from app.messages.decisions import DecisionRequest
from app.messages.reading import Unreadable
from app.policies.plan import Plan

__all__ = ["trial_pages"]

_SEEDS: Final = 1_000_000
_NOBODY: Final = "somebody-new"
_FORM: Final = "form"
_JSON: Final = "json"


def trial_pages(
    preview: Preview, plans: Mapping[str, Plan], *, asked_of: Callable[[DecisionRequest], Asked]
) -> list[Page]:
    """The page on which decisions of the loops of `plans` are tried."""

    async def show(visit: Visit) -> Shown:
        return await act(visit, visit.query)

    async def act(visit: Visit, form: Mapping[str, str]) -> Shown:
        loop = form.get("loop", next(iter(plans), ""))
        user, seed = form.get("user", "").strip() or _NOBODY, _seed(form)
        plan = plans.get(loop)
        values: dict[str, Any] = {"user": user, "loop": loop, "loops": list(plans), "seed": seed, "problem": ""}
        if plan is None:
            return Shown("try.html", "Try it", {**values, **_empty(), "problem": f"there is no loop {loop[:64]!r}"})
        mode = form.get("to") or form.get("mode") or _FORM
        try:
            raw = _raw(visit, form, plan)
            values |= {"request": as_text(raw), "fields": fields_of(raw, plan), "mode": mode}
            made, found = await preview.decide(asked_of(request_of(raw, user, loop)), seed)
        except (Unreadable, BadDecision) as error:
            kept = {"request": form.get("request", ""), "fields": {}, "mode": _JSON}
            return Shown("try.html", "Try it", {**_empty(), **kept, **values, "problem": str(error)})
        return Shown("try.html", "Try it", {**values, **shown(made, found)})

    return [Page("/try", show, "Try it", act=act, acts_as="reader")]


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


def _empty() -> dict[str, Any]:
    return {"request": "", "fields": {}, "mode": _JSON, "made": None, "why": None}
