"""Operations that wait: whoever still waits gets an error, and nobody twice."""

import asyncio

import pytest

from state.update.changes import Change
from state.update.operation import Operation, fail

pytestmark = pytest.mark.anyio


async def test_whoever_waits_gets_the_error() -> None:
    """A result that is there already stays."""
    futures = [asyncio.get_running_loop().create_future() for _ in range(2)]
    operations = [Operation(user="u", deadline=1.0, done=one, reads=(), step=lambda _: Change(1)) for one in futures]
    futures[0].set_result(7)
    fail(operations, ValueError("gone"))
    assert await futures[0] == 7
    with pytest.raises(ValueError, match="gone"):
        await futures[1]
