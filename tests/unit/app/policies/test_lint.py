"""The linter: what is well-formed and yet may be wrong."""

import numpy as np
import pytest

from app.policies.catalog import catalog
from app.policies.lint import lint, lint_features, lint_loop
from tests.unit.app.policies.samples import FEATURES, PUSH

FLOOR = 'by = "linucb", alpha = 0.2, floor = 0.02'


def notes(columns: str, explore: str = FLOOR, more: str = "", rewards: float | None = None) -> list[str]:
    text = f"{FEATURES}[policies.p]\ncolumns = {columns}\nexplore = {{ {explore} }}\n{more}"
    return lint(catalog(text).policies["p"], rewards=rewards)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ('["1", "late", "age"]', []),
        ('["1", "channel", "price", "pause*late", "taste"]', []),
        ('["1", "late", "peak"]', ["peak: the same for all candidates: it takes up noise, and cannot change a choice"]),
        (
            '["1", "hour", "saturday", "pause", "age"]',
            ["hour_sin, hour_cos, saturday, pause<1 and 3 more: the same for all candidates: they take"],
        ),
        ('["1", "hour", "hour*saturday"]', ["cannot choose: every column is the same for all candidates"]),
        ('["late"]', ['has no constant: with "1" among the columns']),
        ('["1", "late", "late*late"]', ["late*late: always equal to late"]),
        ('["1", "channel", "channel=mail*channel=push"]', ["channel=mail*channel=push: can never vary"]),
        ('["1", "price", "late", "arm"]', ["arm=b: follows from the columns before it"]),
        ('["1", "topics", "late"]', ["topics: 4 buckets are few"]),
        ('["1", "actions"]', ["has 65 columns: users with"]),
    ],
)
def test_columns(columns: str, said: list[str]) -> None:
    """Those that choose nothing, tell nothing, or are there twice; one-hot columns with a constant are fine."""
    found = notes(columns)
    assert [text[: len(start)] for text, start in zip(found, said, strict=True)] == said


@pytest.mark.parametrize(
    ("explore", "certain"),
    [
        (FLOOR, False),
        ('by = "linucb", alpha = 0.2', True),
        ('by = "thompson", scale = 0.5', True),
        ('by = "thompson", scale = 0.5, floor = 0.01', False),
        ('by = "epsilon", epsilon = 0', True),
        ('by = "epsilon", epsilon = 0.1', False),
        ('by = "igw", sharpness = 10', False),
    ],
)
def test_floors(explore: str, certain: bool) -> None:
    """Without one there is nothing to estimate from; igw needs none."""
    said = ["has no floor: most candidates get the propensity 0, and estimates from its decisions will be refused"]
    assert notes('["1", "late"]', explore) == (said if certain else [])
    loops = catalog(
        f'[policies.p]\ncolumns = ["1"]\nexplore = {{ {explore} }}\n[loops.l]\nchampion = "p"\nshadows = ["tips-v3"]'
    )
    found = lint_loop(loops.loops["l"], loops.policies)
    assert found == ["its champion p has no floor: other policies cannot be judged by its decisions"] * certain


def test_sizes() -> None:
    """Columns against what a user gives; without a number, many columns without a prior."""
    few = "has 2 columns, and a user gives 1 rewards: fewer columns learn sooner"
    assert notes('["1", "late"]', rewards=1.0) == [few]
    assert notes('["1", "late"]', rewards=2.0) == []
    wide = '[features.wide]\nof = "candidate"\nkind = "vector"\nsize = 64'
    rows = '[policies.p]\ncolumns = ["1", "wide"]\nexplore = { by = "igw", sharpness = 1 }'
    [said] = lint(catalog(f"{wide}\n{rows}").policies["p"])
    assert said.startswith('has 65 columns: users with fewer rewards learn little; prior = "population" helps them')
    assert lint(catalog(f'{wide}\n{rows}\nprior = "population"').policies["p"]) == []


def test_rows_that_were_seen() -> None:
    """Of them is said what they show, and nothing of what might be."""
    text = f'{FEATURES}[policies.p]\ncolumns = ["1", "late", "age", "price"]\nexplore = {{ {FLOOR} }}'
    policy = catalog(text).policies["p"]
    numbers = np.random.default_rng(1).uniform(0, 1, (50, 5))
    numbers[:, 0] = 1.0
    assert lint(policy, numbers) == []
    numbers[:, 1], numbers[:, 3], numbers[:, 4] = 0.0, 1.0 - numbers[:, 2], numbers[:, 2]
    assert lint(policy, numbers) == [
        "late: never varied",
        "price: follows from the columns before it",
        "price_missing: always equal to age",
    ]
    numbers[3, 2] = -1.5
    assert lint(policy, numbers)[0] == "age: beyond -1 to 1"
    assert lint(policy, numbers[:1]) == []


def test_loops_and_features() -> None:
    """A loop without shadows; features that nothing uses, fields that are nearly another's."""
    found = catalog(
        PUSH
        + '[loops.alone]\nchampion = "push"\n[features.lately]\nof = "candidate"\nfield = "is_lat"\nkind = "flag"\n'
        '[features.near]\nof = "user"\nkind = "alignment"\nwith = "hour_of_dy"\nperiod = 24\n'
    )
    assert lint_loop(found.loops["push"], found.policies) == []
    assert lint_loop(found.loops["alone"], found.policies) == [
        "has no shadows: nothing is learned about other policies"
    ]
    said = lint_features(found.features, found.policies.values())
    assert "price: no policy uses it" in said
    assert "late: no policy uses it" not in said
    assert "lately: the field 'is_lat' is nearly 'is_late', which late reads" in said
    assert "near: with = 'hour_of_dy': no feature of the context reads this field" in said
    built_in = catalog()
    assert lint_features(built_in.features, built_in.policies.values()) == []
