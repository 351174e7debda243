"""A table as a world: a candidate for each label, and 1 for the right one."""

import random

from app.simulation.table import Table

ROWS = [{"size": float(number), "id": "of the row"} for number in range(50)]
WORLD = Table(ROWS, [number % 3 for number in range(50)], ("a", "b", "c"), 40)


def test_a_decision() -> None:
    """A row's fields are those of the moment and of every candidate, whose id is its label; one label is right."""
    for moment in WORLD.moments(0, 0):
        size = moment.context.moment["size"]
        assert isinstance(size, float)
        assert moment.context.moment["id"] == "of the row"
        assert list(moment.candidates) == [{"size": size, "id": label} for label in "abc"]
        assert moment.rewards.tolist() == moment.expected.tolist() == [float(place == size % 3) for place in range(3)]


def test_rows_come_once_in_an_order_of_the_seed() -> None:
    """The order is the one in which Python's own generator shuffles a list, so that others can repeat it."""
    orders = [[moment.context.moment["size"] for moment in WORLD.moments(seed, 0)] for seed in (0, 1, 0)]
    assert orders[0] == orders[2] != orders[1]
    shuffled = [float(number) for number in range(50)]
    random.Random(1).shuffle(shuffled)
    assert orders[1] == shuffled[:40]
