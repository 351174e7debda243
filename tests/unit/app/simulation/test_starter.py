"""The file to begin with is one that the catalog takes, and its columns are those of the table."""

import io
import tomllib

from app.bandit.context import Context
from app.policies.catalog import catalog
from app.simulation.delimited import Column, read
from app.simulation.starter import starter

TABLE = read(io.StringIO("hour,Größe (cm),same,id,kind,answered\n9,1.5,3,4,work,yes\n21,2.5,3,5,home,no\n"))
TEXT = starter(TABLE.columns, TABLE.labels, {"hour"})


def test_the_file_means_one_model_per_label() -> None:
    """A cross of the label with the columns, scaled; names that are taken or odd are changed, and their fields kept."""
    policy = catalog(TEXT).policies["start-linucb"]
    columns = ["1", "hour_2", "Gr_e_cm", "id", "kind=work", "kind=home"]
    wanted = [[arm] if column == "1" else sorted([arm, column]) for arm in ("arm=no", "arm=yes") for column in columns]
    assert list(policy.labels) == ["*".join(factors) for factors in wanted]
    x = policy.see(Context(TABLE.rows[1]), [{**TABLE.rows[1], "id": label} for label in TABLE.labels])
    assert x.tolist() == [[1, 1, 1, 1, 0, 1, *[0] * 6], [*[0] * 6, 1, 1, 1, 1, 0, 1]]
    assert '# "same" has one value in all rows' in TEXT


def test_policies() -> None:
    """One that is sure of what it does not know, and one that explores at random."""
    found = catalog(TEXT).policies
    assert {name for name in found if name.startswith("start-")} == {"start-linucb", "start-egreedy"}


def test_many_values_are_hashed() -> None:
    """So are values with an asterisk, which a column's name cannot have."""
    many = Column("town", values=tuple(f"town {number}" for number in range(33)))
    odd = Column("sum", values=("1*2", "2*3"))
    rows = tomllib.loads(starter([many, odd], ["x", "y"], ()))["features"]
    assert rows["town"] == rows["sum"] | {} == {"of": "context", "kind": "hash", "buckets": 16}
    assert catalog(starter([many, odd], ["x", "y"], ())).policies["start-linucb"].d == 2 * 33


def test_any_text_can_be_quoted() -> None:
    """Quotes, line ends, controls and letters beyond the first 65,536 come back as they were."""
    names = ["a\"b'", "c\nd\x7f\x9b", "e\\f", "😀 \u00a0", "1st", "a_b", "x" * 128]
    text = starter([Column(name, 0.0, 1.0) for name in names], ["yes é", "no😀"], ())
    rows = tomllib.loads(text)["features"]
    assert rows["arm"]["values"] == ["yes é", "no😀"]
    assert [row.get("field", name) for name, row in rows.items()][1:] == names
    assert all(character.isprintable() for character in text.replace("\n", ""))
    assert catalog(text).policies["start-linucb"].d == 2 * 8


def test_long_lists_are_broken() -> None:
    """A reader sees all columns without scrolling to the side."""
    text = starter([Column(f"column_{number}", 0.0, 1.0) for number in range(40)], ["x", "y"], ())
    assert max(map(len, text.splitlines())) < 120
    assert catalog(text).policies["start-linucb"].d == 82
