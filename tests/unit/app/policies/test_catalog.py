"""The rows of the policies: their ids, their columns, and what the first system called them."""

from app.policies.catalog import policies

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
    assert {name: policy.labels for name, policy in policies(1.0, 0.1).items()} == {
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
