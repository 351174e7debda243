"""The health of a loop's reward pipeline: what `judge` keeps of it in Redis, and `GET /loops/{loop}` shows."""

from typing import Annotated

import msgspec
from msgspec import Meta

from app.messages.basics import Time

__all__ = ["GatePoint", "HealthColumn", "HealthFeature", "HealthHour", "Joined", "LoopHealth"]

_Count = Annotated[int, Meta(ge=0)]


class Joined(msgspec.Struct, frozen=True, kw_only=True):
    """Decisions that were shown and whose window has closed, `matured`, and how many of them found their reward.

    `rewarded`: somebody told an outcome, and it stands; `late`: of these, first told after the window. `defaulted`: of
    the others, the default reward was booked. `counted` have a reward, be it what silence counts as; `total` and
    `squares` are the sums of these rewards and of their squares.
    """

    matured: _Count
    rewarded: _Count
    late: _Count
    defaulted: _Count
    counted: _Count
    total: float
    squares: float


class HealthHour(Joined, frozen=True, kw_only=True):
    """The decisions made in the hour that begins at `at`: all `decisions`, how many `explored`, how many are `answered`
    so far, whether their window is closed or not, and how many each policy `served`."""

    at: Time
    decisions: _Count
    explored: _Count
    answered: _Count
    served: dict[str, _Count]


class HealthColumn(msgspec.Struct, frozen=True):
    """The mean of a base column over the decisions of the last day, and of the seven days `before`: candidates count as
    one, by their mean. `shift` is the difference in standard deviations of the days before; null: it did not vary."""

    column: str
    before: float
    day: float
    shift: float | None


class HealthFeature(msgspec.Struct, frozen=True):
    """The share of decisions in which a feature had no value that can be read, at least for one candidate: in the last
    day and in the seven days `before`."""

    feature: str
    before: float
    day: float


class GatePoint(msgspec.Struct, frozen=True):
    """The gate of a challenger beside a `champion`, at one run of `judge`, in units of reward."""

    at: Time
    champion: str
    low: float
    high: float
    log_e_value: float
    n: _Count
    needed: _Count | None


class LoopHealth(msgspec.Struct, frozen=True, kw_only=True):
    """Whether rewards find their decisions, made `at` a time from the log `as_of` its newest line; `problems` say why
    it cannot be trusted, and it is healthy if there are none.

    - `hours`: the last 72, the oldest first, the last one being that of `as_of`.
    - `day`: the decisions whose window closed within 24 hours before `as_of`, and `by_policy`, by who served them;
      `before`: within the seven days before these.
    - `delays`: of the rewarded ones of `day`, how many had their first outcome up to each of `delay_edges` (seconds)
      after the decision, and longer after. `delay_median`: likewise; null without any.
    - `columns`: those that moved most come first, at most 32. `features`: likewise.
    - `gates`: by challenger the last 100 runs of `judge`, the oldest first.
    """

    at: Time
    as_of: Time
    champion: str
    problems: list[str]
    hours: list[HealthHour]
    day: Joined
    before: Joined
    by_policy: dict[str, Joined]
    delay_edges: list[float]
    delays: list[_Count]
    delay_median: float | None
    columns: list[HealthColumn]
    features: list[HealthFeature]
    gates: dict[str, list[GatePoint]]
