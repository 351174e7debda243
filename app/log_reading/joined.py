"""Decisions of the log with all that became of them."""

from collections.abc import Iterable, Iterator

import msgspec

from app.decision_log.lines import Decision, Line, Outcome, milliseconds, moment

__all__ = ["Told", "joined"]


class Told(msgspec.Struct, frozen=True):
    """A decision, and its outcomes in the order in which they came."""

    decision: Decision
    outcomes: list[Outcome]

    @property
    def deadline(self) -> int:
        """The deadline of a reward (ms since 1970)."""
        return milliseconds(self.decision.ts) + 1_000 * self.decision.window_s

    @property
    def shown(self) -> bool | None:
        """Whether it was shown: not if it is void; None if that is not known yet."""
        ends = {outcome.what for outcome in self.outcomes}
        if ends & {"cancelled", "expired"}:
            return False
        return True if not self.decision.deferred or "activated" in ends else None

    @property
    def total(self) -> float | None:
        """The reward that stands, None if there is none: silence is none either, unless its default was booked."""
        return self.outcomes[-1].total if self.outcomes and self.shown else None

    @property
    def total_in_time(self) -> float | None:
        """The reward that stood at the deadline; a default that was booked for it counts."""
        end = moment(self.deadline)
        within = [each for each in self.outcomes if each.ts < end or each.what == "default"]
        return within[-1].total if within and self.shown else None

    @property
    def defaulted(self) -> bool:
        """Whether only silence was booked."""
        booked = [outcome for outcome in self.outcomes if outcome.learned]
        return bool(booked) and booked[-1].what in ("default", "early")


def joined(lines: Iterable[Line]) -> Iterator[Told]:
    """The decisions in `lines`, which are in the order `by_decision`. Outcomes without their decision are left out."""
    decision: Decision | None = None
    outcomes: list[Outcome] = []
    for line in lines:
        if isinstance(line, Decision):
            if decision is not None:
                yield Told(decision, outcomes)
            decision, outcomes = line, []
        elif isinstance(line, Outcome) and decision is not None and _of(line, decision):
            outcomes.append(line)
    if decision is not None:
        yield Told(decision, outcomes)


def _of(outcome: Outcome, decision: Decision) -> bool:
    return (outcome.user, outcome.epoch, outcome.born) == (decision.user, decision.epoch, decision.seq)
