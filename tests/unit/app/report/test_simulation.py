"""A simulation as a table and a page: the best first, errors where they are known."""

import numpy as np

from app.policies.catalog import catalog
from app.report.page import Figure
from app.report.plots import Lines
from app.report.simulation import page, table
from app.simulation.outcome import Outcome

POLICIES = [catalog().policies[name] for name in ("egreedy-v1", "tips-v3")]
EARNED = np.array([[[0.0, 1.0], [1.0, 1.0]], [[1.0, 2.0], [2.0, 2.0]]])
FOUND = Outcome(("egreedy-v1", "tips-v3"), np.array([2, 4]), EARNED, np.full((2, 2), 2.0), np.zeros((2, 2)))


def test_the_best_policy_comes_first() -> None:
    """With its columns; then a random choice and the best one, to compare with."""
    grid = table(FOUND, POLICIES)
    assert [row[0] for row in grid.rows] == ["tips-v3", "egreedy-v1", "a random choice", "the best choice"]
    assert grid.rows[0] == [
        "tips-v3",
        "16",
        "0.875 ± 0.125",
        "0.5 ± 0.5",
        "0.875 ± 0.125",
        "0.750 ± 0.250",
        "1.000 ± 0.000",
        "–",  # noqa: RUF001
    ]
    assert grid.rows[1][-1] == "-0.500 ± 0.000"
    assert grid.rows[3][2:6] == ["1.000 ± 0.000", "", "1", "1"]
    assert grid.faint == {2, 3}
    assert grid.notes.endswith("± is one standard error over 2 seeds.")


def test_one_seed_has_no_errors() -> None:
    """They are left out, and it is said why."""
    one = Outcome(FOUND.policies, FOUND.ends, EARNED[:, :1], FOUND.best[:1], FOUND.random[:1])
    grid = table(one, POLICIES)
    assert not [cell for row in grid.rows for cell in row if "±" in cell or "nan" in cell]
    assert grid.notes.endswith("There was one seed, so no error is known.")
    assert "bands" not in str(page(one, POLICIES, "x", "y"))


def test_the_page() -> None:
    """The table, the share and the regret by decision number, what each policy sees, and how it was made."""
    found = page(FOUND, POLICIES, "tasks: 3 users", "python -m app simulate")
    grid, share, regret = found.parts
    assert isinstance(share, Figure)
    assert isinstance(share.plot, Lines)
    assert isinstance(regret, Figure)
    assert isinstance(regret.plot, Lines)
    assert grid == table(FOUND, POLICIES)
    assert [line.mean.tolist() for line in share.plot.lines] == [[0.75, 1.0], [0.25, 0.5]]
    assert [line.mean.tolist() for line in regret.plot.lines] == [[0.5, 0.5], [1.5, 2.5]]
    assert share.plot.at == regret.plot.at == [2, 4]
    assert (share.plot.ceiling, regret.plot.ceiling) == (1.0, None)
    assert "two standard errors" in share.notes
    assert found.lead.startswith("Tasks: 3 users. ")
    assert found.details[1][0] == "What tips-v3 sees: 16 columns"
    assert found.details[1][1].replace("\n", ", ").split(", ") == list(POLICIES[1].labels)
    assert found.foot == "Made by: python -m app simulate"
