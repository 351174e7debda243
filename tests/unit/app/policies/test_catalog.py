"""The rows of the policies: their ids, their columns, and what the first system called them."""

import pytest

from app.bandit.explore import EpsilonGreedy, Explorer, InverseGap, Thompson, UpperConfidence
from app.policies.catalog import built_in_text, catalog, policies
from app.policies.reading import BadPolicies
from tests.unit.app.policies.samples import FEATURES, PUSH

TWO_MISSING = """
[features]
a = { of = "user", kind = "flag", missing = "column" }
a_missing = { of = "user", kind = "flag" }
"""
CLASSIC = """
[policies.p]
columns = ["1"]
explore = { by = "igw", sharpness = 1 }
classic = { route = "", suffix = "" }
"""
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


def test_a_file_gives_its_columns_in_order() -> None:
    """Those of `columns`, then every product of one from each list of `cross`, the first list slowest, each once."""
    found = catalog(PUSH)
    second = ("late", "age", "channel=push", "channel=mail")

    def times(first: str, other: str) -> str:
        return "*".join(sorted([first, other]))

    assert found.policies["push"].labels == (
        "1",
        "late",
        "age*age",
        "hour_sin*late",
        "hour_cos*late",
        *second[1:],
        "hour_sin",
        *(times("hour_sin", each) for each in second[1:]),
        "hour_cos",
        *(times("hour_cos", each) for each in second[1:]),
        "saturday",
        *(times("saturday", each) for each in second),
    )
    row = found.policies["push"]
    assert (row.explorer, row.forget, row.population, row.baseline) == (UpperConfidence(0.2, 0.02), 0.998, True, 0.0)
    assert found.loops["push"].champion == "push"
    assert list(found.loops) == ["tips", "personalizer", "push"]


@pytest.mark.parametrize(
    ("explore", "explorer"),
    [
        ('by = "epsilon", epsilon = 0.3', EpsilonGreedy(0.3)),
        ('by = "linucb", alpha = 2', UpperConfidence(2.0)),
        ('by = "thompson", scale = 0.5, floor = 0.1', Thompson(0.5, 0.1)),
        ('by = "igw", sharpness = 20', InverseGap(20.0)),
    ],
)
def test_explorers(explore: str, explorer: Explorer) -> None:
    """Each by its name; ALPHA and EPSILON are of the first system's policies alone."""
    text = f'[policies.p]\ncolumns = ["1"]\nexplore = {{ {explore} }}'
    assert catalog(text, alpha=9, epsilon=0.9).policies["p"].explorer == explorer


def test_the_built_in_file_may_be_repeated() -> None:
    """Word for word it changes nothing; another loop `tips` may take its place."""
    plain, repeated = catalog(), catalog(built_in_text())
    assert repeated.loops == plain.loops
    assert [row.labels for row in repeated.policies.values()] == [row.labels for row in plain.policies.values()]
    assert catalog('[loops.tips]\nchampion = "tips-v3"').loops["tips"].champion == "tips-v3"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '[features]\nhour = { of = "user", kind = "flag" }',
            "[features] hour: the built-in file has this name already",
        ),
        (
            '[policies.tips-v3]\ncolumns = ["1"]\nexplore = { by = "igw", sharpness = 1 }',
            "[policies] tips-v3: the built-in file has this name already; choose another",
        ),
        (
            '[features]\nhour_sin = { of = "user", kind = "flag" }',
            "[features] hour_sin: takes another name, since hour has a column of this name",
        ),
        (
            TWO_MISSING,
            "[features] a_missing: takes another name, since a has a column of this name",
        ),
        (
            '[policies.history]\ncolumns = ["1"]\nexplore = { by = "igw", sharpness = 1 }',
            "[policies] history: this name has another meaning; choose another",
        ),
        (
            CLASSIC,
            "[policies] p: classic: only policies of the built-in file take it",
        ),
        *[
            (
                f'[features]\na = {{ of = "user", kind = "alignment", with = "h", period = 24, default = {default} }}',
                "[features] a: default: takes its column, a number from 0 to 1, not ",
            )
            for default in ("1.5", "-0.5", "true", "'x'", "[0.5]")
        ],
        *[
            (
                f'[features]\na = {{ of = "user", {kind}, default = {default} }}',
                "[features] a: default: takes a value that this feature can read, not ",
            )
            for kind, default in [
                ('kind = "number", min = 0, max = 1', '"many"'),
                ('kind = "number", min = 0, max = 1', "[0]"),
                ('kind = "category", values = ["a"]', '"b"'),
                ('kind = "vector", size = 2', "[1]"),
                ('kind = "hash", buckets = 2', "1"),
                ('kind = "member", values = [1]', "[1]"),
            ]
        ],
    ],
)
def test_what_does_not_fit(text: str, said: str) -> None:
    """Names of the built-in file, of columns and of keys are taken; a default is read as a value is."""
    with pytest.raises(BadPolicies) as caught:
        catalog(text)
    assert str(caught.value).startswith(said)


def test_columns_of_one_factor_lie_side_by_side() -> None:
    """So that the base columns of a policy are in the order in which it uses them."""
    text = f'{FEATURES}[policies.p]\ncolumns = ["age", "late", "hour"]\nexplore = {{ by = "igw", sharpness = 1 }}'
    row = catalog(text).policies["p"]
    assert row.encoder.labels == ("1", "age", "late", "hour_sin", "hour_cos")
