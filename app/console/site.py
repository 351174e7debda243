"""The pages that the console has."""

from app.console.decision import decision, find_decision
from app.console.loop import loop
from app.console.overview import overview
from app.console.pages import Page, Sources
from app.console.trial import trial
from app.console.user import find_user, user

__all__ = ["made_pages"]


def made_pages(sources: Sources) -> list[Page]:
    """The pages, in the order of the navigation."""
    return [make(sources) for make in (overview, loop, find_user, user, find_decision, decision, trial)]
