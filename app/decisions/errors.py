"""Why a decision is not made or not changed."""

__all__ = ["BadDecision", "Gone", "NoLoop", "NotKnown", "Refused", "Unfit"]


class BadDecision(ValueError):
    """What was asked for cannot be decided; the message says why."""


class NoLoop(Exception):
    """There is no loop of this name; the message says which there are."""


class NotKnown(Exception):
    """There is no such decision. The message has no details, because they would tell which users exist."""


class Gone(Exception):
    """The decision is too old: its record has gone."""


class Unfit(ValueError):
    """What was told does not fit the decision's loop."""


class Refused(Exception):
    """What was told contradicts what is recorded: the decision's `status`, and the reward that is `recorded`."""

    def __init__(self, problem: str, status: str, recorded: float | None) -> None:
        super().__init__(problem)
        self.status = status
        self.recorded = recorded
