"""What a page of the console is, who looks at it, what it is made from, and what it shows."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, NamedTuple

from app.console.choices.preview import Preview
from app.decisions.asked import Asked
from app.decisions.outcome import Outcomes
from app.decisions.users import Users
from app.experiments.change import Changer
from app.experiments.following import Following
from app.messages.decisions import DecisionRequest
from app.messages.health import HealthAnswer
from app.messages.pipeline import LoopHealth
from app.policies.plan import Plan

__all__ = ["Moved", "Page", "Shown", "Sources", "Visit"]


class Visit(NamedTuple):
    """A request for a page at `now` (Unix seconds), by the owner of the key `who`, which is "" if there are no keys.

    `acts` says whether changes are theirs to make. `parts` are the parameters of the path, decoded, and `query` is what
    stands after it. `base` leads from this page to the overview.
    """

    who: str
    acts: bool
    is_open: bool
    now: float
    base: str
    path: str
    parts: Mapping[str, str]
    query: Mapping[str, str]

    def link(self, path: str = "") -> str:
        """The address of the page at `path`, such as "/loops/tips", whose parts are quoted, from this one."""
        return self.base + path


class Shown(NamedTuple):
    """A page is shown: a template, its title, and the values in it."""

    template: str
    title: str
    values: Mapping[str, Any]
    status: int = 200


class Moved(NamedTuple):
    """It is done: the browser goes to the page at `path`."""

    path: str


class Page(NamedTuple):
    """A page at `path` below /console, where a parameter is `{name:str}`.

    With a `name` it stands in the navigation. `act` takes the form that was sent to it, from people with the role
    `acts_as`. Errors that have a status become pages of their own.
    """

    path: str
    show: Callable[[Visit], Awaitable[Shown]]
    name: str = ""
    act: Callable[[Visit, Mapping[str, str]], Awaitable[Shown | Moved]] | None = None
    acts_as: Literal["reader", "admin"] = "admin"


class Sources(NamedTuple):
    """The use-cases and what else pages show.

    `plans` are those of the loops, `health_of` is what `judge` has counted of one, and the replica's health is `seen`.
    `asked_of` is the decision that a message wants. Long work awaits `give_way` between its steps.
    """

    plans: Mapping[str, Plan]
    following: Following
    changer: Changer
    health_of: Callable[[str], LoopHealth | None]
    seen: Callable[[], Awaitable[HealthAnswer]]
    users: Users
    outcomes: Outcomes
    preview: Preview
    asked_of: Callable[[DecisionRequest], Asked]
    give_way: Callable[[], Awaitable[None]]
