"""A world in which everything is known beforehand."""

from collections.abc import Iterator

import msgspec
import numpy as np

from app.bandit.context import Context
from app.bandit.policy import Policy
from app.policies.catalog import catalog
from app.simulation.simulate import Simulation
from app.simulation.world import Moment

__all__ = ["Doors", "of", "run"]

GREEDY = """
[features]
door = { of = "candidate", field = "id", kind = "category", values = ["left", "right"] }
[policies.greedy]
columns = ["door"]
explore = { by = "epsilon", epsilon = 0.0 }
[policies.random]
columns = ["door"]
explore = { by = "epsilon", epsilon = 1.0 }
"""


class Doors(msgspec.Struct, frozen=True):
    """Two doors: the right one earns 1 for users with an even number, the left one for the others; the other 0."""

    users: int = 2
    decisions: int = 30

    def moments(self, seed: int, user: int) -> Iterator[Moment]:
        earned = np.array([float(user % 2), 1.0 - user % 2])
        for _ in range(self.decisions):
            yield Moment(Context(), [{"id": "left"}, {"id": "right"}], earned, earned)


def of(*names: str) -> list[Policy]:
    """Policies of the small file and of the built-in one."""
    found = catalog(GREEDY).policies
    return [found[name] for name in names]


def run(simulation: Simulation) -> list[int]:
    """All that a run says of its progress."""
    return list(simulation.run())
