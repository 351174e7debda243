"""What it learns, beside numbers that others have published or that were measured beside this code.

Two data sets of UCI's repository are read from a folder and kept nowhere: magic04.data and agaricus-lepiota.data.
"""

import csv
import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from app.bandit.context import Fields
from app.bandit.explore import DRAWS, Thompson
from app.bandit.policy import Policy
from app.bandit.ridge import Matrix, observe, prior
from app.bandit.sample import normals
from app.policies.catalog import catalog
from app.simulation.outcome import Outcome
from app.simulation.owners import Owners
from app.simulation.simulate import Simulation
from app.simulation.table import Table
from bench.report import Check, Section

__all__ = ["sections"]

_MAGIC: Final = "magic04.data"
_MUSHROOM: Final = "agaricus-lepiota.data"
# The regret of BanditDB's one model per class under the seeds 0, 1 and 2, and on magic with products of the columns.
_PROMISED: Final = {_MAGIC: (2080, 2051, 2052), _MUSHROOM: (35, 34, 36)}
_BETTER: Final = (1657, 1662, 1656)
# Some copies of magic04.data have a line of names.
_HEADER: Final = "fLength"
_ROUNDS: Final = 10_000
# Chi-square with 4 degrees of freedom is greater once in 1e9.
_CHI_SQUARE: Final = 47.5
_WINS: Final = (0.5214, 0.2937, 0.1516, 0.0297, 0.0036)


def sections(folder: Path) -> Iterator[Section]:
    """Everything, one section after the other. Raises SystemExit if a data set is not there."""
    for name in _PROMISED:
        if not (folder / name).is_file():
            raise SystemExit(f"{folder / name} is missing: it is UCI's, and its licence is CC BY 4.0")
    yield _regrets("BanditDB's table", folder, {name: (promised, False) for name, promised in _PROMISED.items()})
    yield _regrets("Better by configuration: 1, z, z_i z_j", folder, {_MAGIC: (_BETTER, True)})
    yield _win_shares()
    yield _forgetting()
    yield _context()


# BanditDB's protocol


def _regrets(title: str, folder: Path, wanted: dict[str, tuple[Sequence[int], bool]]) -> Section:
    rows, checks = [], []
    for name, (promised, products) in wanted.items():
        table = _data(folder / name)
        policy = _per_class(table, products=products)
        begun = time.process_time()
        outcome = _simulated([policy], table, seeds=len(promised))
        took = (time.process_time() - begun) / (len(promised) * table.decisions)
        found = (outcome.best - outcome.earned[0]).sum(axis=1).round().astype(int).tolist()
        rows.append([name, str(policy.d), *(f"{a:,} / {b:,}" for a, b in zip(found, promised, strict=True))])
        rows[-1].append(f"{took * 1e6:,.0f}")
        checks += [
            Check(f"{name}, {policy.d} columns, seed {seed}", have, want, "regret")
            for seed, (have, want) in enumerate(zip(found, promised, strict=True))
        ]
    header = ["regret, measured / promised", "d", "seed 0", "seed 1", "seed 2", "µs a round"]
    return Section(title, "one model per class, LinUCB with alpha 1, each row once", header, rows, checks)


def _per_class(table: Table, *, products: bool) -> Policy:
    """A policy file's row with one model per class: a cross of the class with the columns of a row."""
    row = table.rows[0]["row"]
    assert isinstance(row, list)
    z = [f"row[{place}]" for place in range(len(row))]
    more = [f"{one}*{other}" for one, other in itertools.combinations_with_replacement(z, 2)]
    columns = ["1", *z, *more] if products else ["row"]
    text = f"""
    [features]
    arm = {{ of = "candidate", field = "id", kind = "category", values = {list(table.labels)} }}
    row = {{ of = "context", kind = "vector", size = {len(row)} }}
    [policies.per-class]
    cross = [["arm"], {columns}]
    explore = {{ by = "linucb", alpha = 1.0 }}
    """
    return catalog(text).policies["per-class"]


def _data(path: Path) -> Table:
    """A data set by the protocol: rows with a missing value are left out, each column is scaled to 0..1, each row to
    length 1, with 6 decimals."""
    with path.open(newline="") as file:
        cells = [row for row in csv.reader(file) if row and "?" not in row and row[0] != _HEADER]
    at = 0 if path.name == _MUSHROOM else -1
    labels = [row.pop(at) for row in cells]
    x = _one_hot(cells) if path.name == _MUSHROOM else np.array(cells, np.float64)
    low, span = x.min(axis=0), np.ptp(x, axis=0)
    x = (x - low) / np.where(span > 0, span, 1.0)
    x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    names = tuple(sorted(set(labels)))
    rows: list[Fields] = [{"row": row} for row in x.round(6).tolist()]
    return Table(rows, [names.index(label) for label in labels], names, min(_ROUNDS, len(rows)))


def _one_hot(cells: Sequence[Sequence[str]]) -> Matrix:
    """A column of 0 and 1 for each value but the first one, which the others tell."""
    columns = []
    for column in zip(*cells, strict=True):
        columns += [[float(cell == value) for cell in column] for value in sorted(set(column))[1:]]
    return np.array(columns).T


# The numeric core


def _win_shares() -> Section:
    """Thompson's posterior draws of five candidates, scores with means .3 to 0 and covariance .15² (.5 I + .5 J)."""
    means, rounds = np.array([0.3, 0.25, 0.2, 0.1, 0.0]), 4_000
    covariance = 0.15**2 * (0.5 * np.eye(5) + 0.5)
    a = np.asarray(np.linalg.inv(covariance), np.float64)
    explorer, wins = Thompson(scale=1.0), np.zeros(5)
    solved = explorer.solved(a[None], (a @ means)[None])

    def draws(seed: int, shape: tuple[int, int]) -> Matrix:
        return normals(seed, "thompson", "draws", shape)

    for seed in range(rounds):
        [odds] = explorer.odds_of(solved, np.eye(5)[None], [seed], draws)
        wins += odds.propensities
    expected = np.array(_WINS) * rounds / sum(_WINS)
    statistic = DRAWS * float(((wins - expected) ** 2 / expected).sum())
    shares = (wins / rounds).tolist()
    rows = [
        [str(place), f"{win:.4f}", f"{want:.4f}"]
        for place, (win, want) in enumerate(zip(shares, _WINS, strict=True), 1)
    ]
    check = Check(f"Thompson's wins, {rounds * DRAWS:,} draws", statistic, _CHI_SQUARE, "chi-square")
    return Section("Thompson sampling by draws", "", ["candidate", "wins", "promised"], rows, [check])


def _forgetting() -> Section:
    """A million rewards, of which each takes a thousandth of the past away, and three columns that are always 0."""
    a, b = prior(8)
    chance = np.random.default_rng(0)
    for _ in range(1_000):
        for x in np.pad(chance.uniform(-1.0, 1.0, (1_000, 5)), ((0, 0), (0, 3))):
            a, b = observe(a, b, x, float(x[0]), 0.999)
    values = np.linalg.eigvalsh(a)
    condition = float(values[-1] / values[0])
    checks = [
        Check("forgetting: A's condition", condition, 1e4, ""),
        Check("forgetting: 1 less A's least eigenvalue", 1.0 - float(values[0]), 1e-9, ""),
    ]
    rows = [[f"{values[0]:.6f}", f"{condition:.1f}"]]
    return Section("Forgetting, 1e6 updates", "", ["least eigenvalue of A", "condition"], rows, checks)


def _context() -> Section:
    policies = catalog().policies
    outcome = _simulated([policies["tips-v3"], policies["egreedy-v1"]], Owners(20, 200), seeds=10)
    new, old = outcome.reward("tips-v3").mean, outcome.reward("egreedy-v1").mean
    rows = [
        [name, f"{outcome.reward(name).mean:.4f}", f"{outcome.share(name).mean:.3f} ± {outcome.share(name).error:.3f}"]
        for name in outcome.policies
    ]
    check = Check("context: egreedy-v1's reward of tips-v3's", old / new, 1 / 1.25, "")
    how = "simulated owners of tasks: 10 seeds, 20 users, 200 decisions"
    return Section("Context", how, ["policy", "reward", "share of the possible"], rows, [check])


def _simulated(policies: Sequence[Policy], world: Table | Owners, *, seeds: int) -> Outcome:
    run = Simulation(policies, world, seeds)
    done = 0
    for more in run.run():
        done += more
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{done:,} of {run.total:,}\r")
    return run.outcome()
