"""What a consumer counts, and the protocols of those who observe it."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from app.messages.events import Happening

__all__ = ["Counts", "Observer", "Trace", "untraced"]


class Observer(Protocol):
    """Is told the outcome of each delivery, and how many events wait in the streams."""

    def event(self, consumer: str, happening: Happening) -> None: ...
    def pending(self, consumer: str, events: int) -> None: ...


# Put around each delivery, with its subject and headers; yields headers for a dead letter.
Trace = Callable[[str, Mapping[str, str]], AbstractContextManager[Mapping[str, str]]]


def untraced(_subject: str, _headers: Mapping[str, str]) -> AbstractContextManager[Mapping[str, str]]:
    """A `Trace` that records nothing."""
    return nullcontext({})


class Counts:
    """The outcomes of a consumer's deliveries in this process; `last_at` is when the last arrived, in Unix seconds."""

    def __init__(self, consumer: str, observer: Observer | None) -> None:
        self._consumer = consumer
        self._observer = observer
        self.last_at: float | None = None
        self.of: dict[Happening, int] = {"processed": 0, "failed": 0, "dead_lettered": 0}

    def event(self, happening: Happening) -> None:
        self.of[happening] += 1
        if self._observer is not None:
            self._observer.event(self._consumer, happening)

    def pending(self, events: int) -> None:
        if self._observer is not None:
            self._observer.pending(self._consumer, events)
