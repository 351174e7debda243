"""The page of a decision: why it was made, what each policy would have done, and what became of it."""

from collections.abc import Mapping
from typing import Any, Final

from app.console.pages import Page, Shown, Visit
from app.console.why import shares, why
from app.decisions.explain import Explanation
from app.decisions.outcome import Outcomes
from app.messages.decision_ids import parsed
from state.values.decision import Record

__all__ = ["decision_pages", "roles", "shown"]

# Candidates of a decision of which nothing more is known than their propensities.
_CANDIDATES: Final = 20


def decision_pages(outcomes: Outcomes) -> list[Page]:
    """The pages of decisions."""

    async def find(visit: Visit) -> Shown:
        whole = visit.query.get("id", "").strip()
        return await of(whole) if whole else Shown("decisions.html", "Decisions", {})

    async def show(visit: Visit) -> Shown:
        return await of(visit.parts["decision_id"])

    async def of(whole: str) -> Shown:
        made, found = await outcomes.read(whole)
        named = parsed(whole)
        assert named is not None  # noqa: S101  # otherwise there is no such decision
        local, user = named
        return Shown("decision.html", f"Decision {local}", {"whole": whole, "user": user, **shown(made, found)})

    return [Page("/decisions", find, "Decisions"), Page("/decisions/{decision_id:str}", show)]


def shown(made: Record, found: Explanation | None) -> Mapping[str, Any]:
    """What is shown of a decision, and of why it was made as long as that is known."""
    if found is None:
        best = sorted(range(len(made.ids)), key=lambda place: -made.propensities[place])
        kept = list(dict.fromkeys([made.chosen, *best[: _CANDIDATES - 1]]))
        return {
            "made": made,
            "why": None,
            "roles": roles(made),
            "shares": shares(made, [made.ids[place] for place in kept]),
            "hidden": len(made.ids) - len(kept),
        }
    picture = why(made, found)
    return {
        "made": made,
        "why": picture,
        "roles": roles(made),
        "shares": shares(made, [row.id for row in picture.rows]),
        "hidden": picture.hidden,
    }


def roles(made: Record) -> list[tuple[str, str]]:
    """What each policy of a decision was, and its name."""
    names = [each.policy for each in made.by_policy]
    serving = 1 if made.canary is None else 2
    kinds = ["champion", "canary"][:serving] + ["shadow"] * (len(names) - serving)
    return list(zip(kinds, names, strict=True))
