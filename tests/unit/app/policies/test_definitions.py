"""What a column is made of: the same as long as it means the same."""

import pytest

from app.policies.catalog import catalog


def identity(features: str, columns: str) -> dict[str, str]:
    """The definition of each column by its label."""
    rows = f"[features]\n{features}\n[policies.p]\nexplore = {{ by = 'epsilon', epsilon = 0.1 }}\ncolumns = {columns}"
    policy = catalog(rows).policies["p"]
    return dict(zip(policy.labels, policy.definitions, strict=True))


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [
        ("kind='category', values=['x', 'y']", "kind='category', values=['z', 'x', 'y']", {"a=x", "a=y"}),
        ("kind='category', values=[1, 2]", "kind='category', values=[1, '2']", {"a=1"}),
        ("kind='category', values=['x', 'y']", "kind='category', values=['x'], default='x'", set()),
        ("kind='bins', edges=[1, 2, 3]", "kind='bins', edges=[1, 2, 4]", {"a<1", "a[1,2)"}),
        ("kind='number', min=0, max=1", "kind='number', min=0, max=1.0", {"a"}),
        ("kind='number', min=0, max=1", "kind='number', min=0, max=2", set()),
        ("kind='number', min=0, max=1", "kind='number', min=0, max=1, scale='log'", set()),
        ("kind='number', min=0, max=1", "kind='number', min=0, max=1, default=1", set()),
        ("kind='number', min=0, max=1", "kind='number', min=0, max=1, field='b'", set()),
        ("kind='number', min=0, max=1", "kind='number', min=0, max=1, missing='column'", {"a"}),
        ("kind='flag'", "kind='number', min=0, max=1", set()),
        ("kind='member', values=[1, 2]", "kind='member', values=[2, 1]", {"a"}),
        ("kind='member', values=[1, 2]", "kind='member', values=[1, '2']", set()),
        ("kind='cycle', period=24", "kind='cycle', period=12", set()),
        ("kind='hash', buckets=2", "kind='hash', buckets=3", set()),
        ("kind='vector', size=2", "kind='vector', size=3", set()),
        ("kind='alignment', with='h', period=24", "kind='alignment', with='i', period=24", set()),
    ],
)
def test_what_keeps_a_column_and_what_changes_it(before: str, after: str, kept: set[str]) -> None:
    """A value more in a list keeps the others; all else makes other columns, in products too."""
    for columns, factor in (("['a']", ""), ("['a*late']", "*late")):
        late = "\nlate = { of = 'candidate', kind = 'flag' }"
        old, new = (identity(f"a = {{ of = 'user', {row} }}{late}", columns) for row in (before, after))
        assert {label for label in old if new.get(label) == old[label]} == {f"{label}{factor}" for label in kept}


def test_whose_it_is_counts() -> None:
    """The same field of the user and of a candidate are two things; the constant is one."""
    of = [identity(f"a = {{ of = '{of}', kind = 'flag' }}", "['1', 'a']") for of in ("context", "user", "candidate")]
    assert len({found["a"] for found in of}) == 3
    assert len({found["1"] for found in of}) == 1


def test_identities_never_change() -> None:
    """Models know their columns by these."""
    found = identity(
        "a = { of = 'user', kind = 'category', values = ['x'], missing = 'column' }", "['1', 'a', 'a*hour']"
    )
    assert found == {
        "1": "f6fc42039fba3776",
        "a=x": "7281799722b0b36a",
        "a_missing": "7541dc2eba6dece5",
        "a=x*hour_sin": "c3a54afacfd3f70a",
        "a=x*hour_cos": "b4725f9238b140f5",
        "a_missing*hour_sin": "86a04e0df9a0cd16",
        "a_missing*hour_cos": "6cc17a731f3125eb",
    }
