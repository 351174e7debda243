"""Why a loop is not changed."""

from collections.abc import Sequence

from app.experiments.verdict import Verdict

__all__ = ["BadChange", "NotYet", "Stale"]


class BadChange(ValueError):
    """A request cannot be fulfilled; the message says why."""


class Stale(Exception):
    """Somebody changed the loop meanwhile: its state is not the one that was named, but `number`."""

    def __init__(self, number: int) -> None:
        super().__init__(f'the state of the loop is {number}: look at it again, and say If-Match: "{number}"')
        self.number = number


class NotYet(Exception):
    """The rule of the rung does not hold; with a reason it would be done. `verdict` is the evidence, at most."""

    def __init__(self, reasons: Sequence[str], number: int, verdict: Verdict | None) -> None:
        super().__init__("; ".join(reasons))
        self.number = number
        self.verdict = verdict
