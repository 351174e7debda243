"""Steps side by side: what they want computed is computed together, and each fails alone."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from state.update.changes import Asking, Change, Work
from state.update.operation import Failure, Operation
from state.update.running import run, waves

CALLS: list[list[Any]] = []


def doubled(numbers: Sequence[int]) -> list[int]:
    CALLS.append(list(numbers))
    return [2 * number for number in numbers]


def negated(numbers: Sequence[int]) -> list[int]:
    CALLS.append(list(numbers))
    return [-number for number in numbers]


def asking(*numbers: int) -> Asking[list[int]]:
    """Asks for each number doubled, and negated in the end."""
    found = []
    for number in numbers:
        [twice] = yield [Work(doubled, number)]
        found.append(twice)
    found += yield [Work(negated, sum(numbers))]
    return found


def failing(number: int) -> Asking[list[int]]:
    [twice] = yield [Work(doubled, number)]
    raise LookupError(twice)


def test_what_is_wanted_is_computed_together() -> None:
    """Steps go on at the same pace, whatever each wants; a step that raises does not end the others."""
    CALLS.clear()
    found = dict(run({0: asking(1, 2), 1: failing(5), 2: asking(7), 3: asking()}))
    assert CALLS == [[1, 5, 7], [0], [2], [7], [3]]
    assert (found[0], found[2], found[3]) == ([2, 4, -3], [14, -7], [0])
    assert isinstance(found[1], Failure)
    assert found[1].error.args == (10,)


@pytest.mark.anyio
async def test_a_users_operations_follow_each_other() -> None:
    """In their order; those of different users are in one wave."""
    future = asyncio.get_running_loop().create_future()
    operations = [
        Operation(user=user, deadline=0.0, done=future, reads=(), step=lambda _: Change(None)) for user in "abaacb"
    ]
    assert list(waves(operations)) == [[0, 1, 4], [2, 5], [3]]
    assert list(waves([])) == []
