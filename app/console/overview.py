"""The first page: the loops, what they earn, and the health of the replica."""

from app.console.pages import Page, Shown, Sources, Visit

__all__ = ["overview"]


def overview(sources: Sources) -> Page:
    """The page."""

    async def show(_: Visit) -> Shown:
        return Shown("overview.html", "Overview", {"loops": list(sources.plans), "health": await sources.seen()})

    return Page("", show, name="Overview")
