"""The ladder of a loop as forms: which steps there are, what is against each, and what a form asks for."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from app.console.loops.evidence import role_of
from app.drawing.words import share
from app.experiments.change import Wanted, against
from app.experiments.ladder import FIRST_SHARE, MOST_SHARE, Known
from app.messages.reading import Unreadable
from app.policies.plan import Plan
from state.values.loop import Canary, Stage, Standing

__all__ = ["Challenger", "Rung", "challengers", "former", "wanted"]

_SHARES: Final = (0.01, 0.02, 0.05, FIRST_SHARE, 0.2, 0.3, MOST_SHARE)
_LONGEST_REASON: Final = 1_000


class Rung(NamedTuple):
    """A step that can be asked for: champion, or with `shares` a canary with one of them; and what is `against` it."""

    title: str
    shares: Sequence[float]
    against: Sequence[str]


class Challenger(NamedTuple):
    """A policy that could serve more, what it is now, and the share that it serves."""

    name: str
    role: str
    share: float | None
    rungs: Sequence[Rung]


def challengers(plan: Plan, known: Known) -> list[Challenger]:
    """Every policy of a loop but its champion, and the steps up from where it is."""
    now = plan.stage
    names = [policy.id for policy in plan.policies if policy.id != now.champion]
    return [Challenger(name, role_of(plan, name), _share(now, name), _rungs(plan, name, known)) for name in names]


def _share(now: Stage, name: str) -> float | None:
    return now.canary.share if now.canary is not None and now.canary.policy == name else None


def _rungs(plan: Plan, name: str, known: Known) -> list[Rung]:
    now, served = plan.stage, _share(plan.stage, name) or 0.0
    found = []
    for title, above, most in (
        ("smaller canary", 0.0, served),
        (f"canary with at most {share(FIRST_SHARE)}", served, FIRST_SHARE),
        (f"canary with at most {share(MOST_SHARE)}", max(served, FIRST_SHARE), MOST_SHARE),
    ):
        shares = [each for each in _SHARES if above < each <= most and each != served]
        if shares:
            to = Stage(now.number, now.champion, Canary(name, shares[-1]))
            found.append(Rung(title, shares, against(plan, now, to, known)))
    champion = Stage(now.number, name)
    return [*found, Rung("champion", [], against(plan, now, champion, known))]


def wanted(form: Mapping[str, str], who: str) -> Wanted:
    """What a form asks for. Raises Unreadable."""
    because = " ".join(form.get("because", "").split())
    if len(because) > _LONGEST_REASON:
        raise Unreadable(f"because: takes at most {_LONGEST_REASON:,} characters")
    step, policy = form.get("step"), form.get("policy", "")
    number = _number(form.get("state", ""))
    if step == "back":
        return Wanted(number=number, who=who, back=True, because=because)
    if step == "champion":
        return Wanted(number=number, who=who, champion=policy, because=because)
    if step == "canary":
        return Wanted(number=number, who=who, canary=Canary(policy, _canary_share(form)), because=because)
    raise Unreadable("step: takes canary, champion or back")


def former(standing: Standing | None) -> Stage | None:
    """The stage that one can go back to."""
    return standing.former[0] if standing is not None and standing.former else None


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise Unreadable("state: takes the number of the state that the page shows")
    return int(text)


def _canary_share(form: Mapping[str, str]) -> float:
    try:
        found = float(form.get("share", ""))
    except ValueError:
        found = 0.0
    if not 0.0 < found <= MOST_SHARE:
        raise Unreadable(f"share: takes a number above 0, at most {MOST_SHARE}")
    return found
