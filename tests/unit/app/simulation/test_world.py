"""What a world must offer: every kind of world offers it."""

import pytest

from app.simulation.owners import Owners
from app.simulation.table import Table
from app.simulation.world import World
from tests.unit.app.simulation.worlds import Doors

WORLDS = [Owners(2, 5), Table([{"a": 1.0}] * 5, [0] * 5, ("x", "y"), 5), Doors(2, 5)]


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: type(world).__name__)
def test_worlds(world: World) -> None:
    """Each user has as many decisions as it says, with an expected reward and a reward for each candidate."""
    for user in range(world.users):
        moments = list(world.moments(0, user))
        assert len(moments) == world.decisions
        for moment in moments:
            assert moment.expected.shape == moment.rewards.shape == (len(moment.candidates),)
