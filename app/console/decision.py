"""The page of a decision: why it was made, what each policy would have done, and what became of it."""

from collections.abc import Mapping
from typing import Any, Final

from app.console.choices.why import shares, why
from app.console.pages import Page, Shown, Sources, Visit
from app.decisions.explain import Explanation
from app.messages.decision_ids import parsed
from state.values.decision import Record

__all__ = ["decision", "find_decision", "told"]

# Candidates of a decision of which nothing more is known than their propensities.
_CANDIDATES: Final = 20


def find_decision(sources: Sources) -> Page:
    """The page that asks for a decision's id, and shows that decision."""

    async def show(visit: Visit) -> Shown:
        found = visit.query.get("decision_id", "").strip()
        return await _shown(sources, found) if found else Shown("decisions.html", "Decisions", {})

    return Page("/decisions", show, "Decisions")


def decision(sources: Sources) -> Page:
    """The page of one decision."""
    return Page("/decisions/{decision_id:str}", lambda visit: _shown(sources, visit.parts["decision_id"]))


async def _shown(sources: Sources, whole: str) -> Shown:
    made, found = await sources.outcomes.read(whole)
    named = parsed(whole)
    assert named is not None  # noqa: S101  # otherwise there is no such decision
    local, user_id = named
    return Shown("decision.html", f"Decision {local}", {"whole": whole, "user": user_id, **told(made, found)})


def told(made: Record, found: Explanation | None) -> Mapping[str, Any]:
    """What is shown of a decision, and of why it was made as long as that is known."""
    if found is None:
        best = sorted(range(len(made.ids)), key=lambda place: -made.propensities[place])
        kept = list(dict.fromkeys([made.chosen, *best]))[:_CANDIDATES]
        return {
            "made": made,
            "why": None,
            "roles": _roles(made),
            "shares": shares(made, [made.ids[place] for place in kept]),
            "hidden": len(made.ids) - len(kept),
        }
    picture = why(made, found)
    return {
        "made": made,
        "why": picture,
        "roles": _roles(made),
        "shares": shares(made, [row.id for row in picture.rows]),
        "hidden": picture.hidden,
    }


def _roles(made: Record) -> list[tuple[str, str]]:
    """What each policy of a decision was, and its name."""
    names = [each.policy for each in made.by_policy]
    serving = 1 if made.canary is None else 2
    kinds = ["champion", "canary"][:serving] + ["shadow"] * (len(names) - serving)
    return list(zip(kinds, names, strict=True))
