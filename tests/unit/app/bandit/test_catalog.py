"""The rows of the policies: their ids, their columns, and what the first system called them."""

import pytest

from app.bandit.catalog import by_id, policies

ROW = policies(1.0, 0.1)["egreedy-v1"]


def test_labels_and_their_order() -> None:
    """Each policy's columns, in the order in which its theta is published."""
    five = ("hour_sin", "hour_cos", "is_overdue", "task_age", "priority")
    seven = (*five, "dow_sin", "dow_cos")
    twelve = (
        *seven,
        "completion_rate_30d",
        "dismiss_rate_30d",
        "mean_dwell_norm",
        "preferred_hour_alignment",
        "tip_volume_norm",
    )
    assert {name: policy.features.labels for name, policy in policies(1.0, 0.1).items()} == {
        "linucb-v1": five,
        "egreedy-v1": seven,
        "egreedy-v2": twelve,
    }


def test_what_the_first_system_called_them() -> None:
    """Paths, file names and the shape of statistics are those of the first system."""
    assert [
        (row.id, row.classic.route, row.classic.suffix, row.classic.tells_exploration)
        for row in policies(1.0, 0.1).values()
    ] == [
        ("linucb-v1", "", "", False),
        ("egreedy-v1", "/egreedy", "_egreedy", True),
        ("egreedy-v2", "/egreedy/v2", "_egreedy_v2", True),
    ]


@pytest.mark.parametrize(
    "bad", ["", "history", "sync", "once", "flight", "flight:1", "a:b", "a b", "-a", "ä", "a" * 65]
)
def test_an_id_that_a_key_cannot_end_in(bad: str) -> None:
    """An id that would collide with another key of a user, or could not be told from one, is refused."""
    with pytest.raises(ValueError, match="cannot be the id"):
        by_id(type(ROW)(bad, ROW.features, ROW.explorer, ROW.classic))


def test_an_id_given_twice() -> None:
    """Two rows of one id are refused."""
    with pytest.raises(ValueError, match="egreedy-v1"):
        by_id(ROW, ROW)
