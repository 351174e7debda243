"""Runs steps of different users side by side, so that what they want computed is computed together. Pure."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice, repeat
from operator import attrgetter
from typing import Any, TypeVar

from state.update.changes import Asking, Work
from state.update.operation import Failure, Operation

__all__ = ["run", "waves"]

T = TypeVar("T")

_HOW, _WHAT = attrgetter("how"), attrgetter("what")


def waves(operations: Sequence[Operation]) -> list[list[int]]:
    """The places of the operations: first those of different users, then each user's second one, and so on."""
    made: list[list[int]] = []
    before: dict[str, int] = {}
    for place, operation in enumerate(operations):
        number = before[operation.user] = before.get(operation.user, -1) + 1
        if number == len(made):
            made.append([])
        made[number].append(place)
    return made


def run(steps: Mapping[int, Asking[T]]) -> Iterator[tuple[int, T | Failure]]:
    """What each step returns, or raises, as soon as it does."""
    waiting: Iterable[tuple[int, Asking[T], Any]] = zip(steps, steps.values(), repeat(None))
    while waiting:
        asked = []
        for name, step, answer in waiting:
            try:
                asked.append((name, step, step.send(answer)))
            except StopIteration as done:
                yield name, done.value
            except Exception as error:  # noqa: BLE001  # only this one fails
                yield name, Failure(error)
        answers = iter(_answers([work for _, _, works in asked for work in works]))
        waiting = [(name, step, [*islice(answers, len(works))]) for name, step, works in asked]


def _answers(works: Sequence[Work]) -> list[Any]:
    """The answer to each, computed together with all that are computed in the same way."""
    if len(set(map(_HOW, works))) == 1:  # as mostly
        return [*works[0].how([*map(_WHAT, works)])]
    alike: dict[Callable[..., Any], list[int]] = {}
    for number, work in enumerate(works):
        alike.setdefault(work.how, []).append(number)
    found: dict[int, Any] = {}
    for how, numbers in alike.items():
        found.update(zip(numbers, how([works[number].what for number in numbers]), strict=True))
    return [found[number] for number in range(len(works))]
