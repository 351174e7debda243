"""The command `simulate`: policies beside each other where the outcome of every choice is known."""

import argparse
import asyncio
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Group, RenderableType
from rich.table import Table as Shown
from rich.text import Text

from app.bandit.features import Feature
from app.bandit.nested import Nested
from app.bandit.policy import Policy
from app.policies.catalog import Catalog, catalog
from app.policies.reading import BadPolicies
from app.report.page import Grid, html
from app.report.plots import MissingExtra, require
from app.report.simulation import page, table
from app.settings import Settings, SettingsError
from app.simulation.delimited import MOST_ROWS, BadTable, Delimited, read
from app.simulation.outcome import Outcome
from app.simulation.owners import Owners
from app.simulation.simulate import Simulation
from app.simulation.starter import starter
from app.simulation.table import Table
from app.simulation.world import World
from app.terminal import count, new_file, plain, progress_bar, wide_console

__all__ = ["add_simulate", "picture", "simulate"]

_TIPS: Final = "tips"
# Decisions of each row order of a table, if the call does not say how many.
_DECISIONS: Final = 10_000


class _Place(msgspec.Struct, frozen=True):
    """A world, the policies that make sense in it, and its description; `fields` are what a policy can see there."""

    world: World
    policies: dict[str, Policy]
    about: str
    fields: frozenset[str] | None = None


def add_simulate(simulating: argparse.ArgumentParser) -> None:
    """What the command takes."""
    add = simulating.add_argument
    add("--on", default="tips", metavar="PLACE", help="tips: simulated owners of tasks (default); or a CSV file")
    add("--label", default="", metavar="COLUMN", help="the column of the CSV file to choose rightly; default: the last")
    add("--policies", default="", metavar="FILE", help="a policy file, whose policies are compared too")
    add("--policy", action="append", metavar="NAME", help="compare this one; may be repeated; default: all")
    add("--print-policies", action="store_true", help="only print a policy file for the CSV file, to begin with")
    add(
        "--decisions",
        type=count(1_000_000),
        metavar="N",
        help="of a user (200); of a CSV file (its rows, 10000 at most)",
    )
    add("--users", type=count(100_000), metavar="N", help="owners of tasks for each seed (20)")
    add("--seeds", type=count(1_000), default=5, metavar="N", help="repetitions, over which errors are taken (5)")
    add("--out", type=new_file, metavar="FILE", help="write a report as one file of HTML, with plots")


async def simulate(arguments: argparse.Namespace, settings: Settings) -> int:
    """Print a table, and write a report if one is wanted; the exit code. Raises SettingsError and OSError."""
    found = None if arguments.on == _TIPS else _table(Path(arguments.on), arguments.label)
    if arguments.print_policies:
        sys.stdout.write(_started(found))
        return 0
    own = _own(arguments.policies, settings)
    place = _owners(arguments, own) if found is None else _labels(arguments, found, own)
    chosen = _chosen(arguments.policy or place.policies, place)
    if arguments.out:
        _require_plots()
    outcome = await _run(Simulation(chosen, place.world, arguments.seeds))
    wide_console().print(picture(table(outcome, chosen), place.about))
    if arguments.out:
        command = shlex.join(["python", "-m", "app", *sys.argv[1:]])
        arguments.out.write_text(html(page(outcome, chosen, place.about, command)), encoding="utf-8")
    return 0


def picture(grid: Grid, about: str) -> RenderableType:
    """The table as a terminal shows it."""
    shown = Shown(box=None, pad_edge=False, padding=(0, 2))
    for place, name in enumerate(grid.header):
        shown.add_column(Text(name), justify="right" if place else "left", no_wrap=True)
    for place, row in enumerate(grid.rows):
        style = "dim" if place in grid.faint else "bold" if not place else ""
        shown.add_row(*(Text(plain(cell)) for cell in row), style=style)
    return Group(Text(plain(about), "bold"), "", shown, "", Text(grid.notes, "dim"))


def _require_plots() -> None:
    try:
        require()
    except MissingExtra as error:
        raise SettingsError(f"--out: {error}") from None


async def _run(simulation: Simulation) -> Outcome:
    with progress_bar() as progress:
        task = progress.add_task("simulating", total=simulation.total)
        for done in simulation.run():
            progress.advance(task, done)
            await asyncio.sleep(0)  # here a signal can end the command
    return simulation.outcome()


def _owners(arguments: argparse.Namespace, own: Catalog) -> _Place:
    if arguments.label:
        raise SettingsError("--label: only a table has columns; name one by --on")
    world = Owners(arguments.users or Owners().users, arguments.decisions or Owners().decisions)
    users = f"{world.users:,} users" if world.users > 1 else "1 user"
    about = f"simulated owners of tasks: {users}, {world.decisions:,} decisions each"
    # Owners of tasks send no objects of any shape, so a policy for them has nothing to see.
    seeing = {name: one for name, one in own.policies.items() if not any(map(_is_nested, one.encoder.features))}
    return _Place(world, seeing, about)


def _is_nested(feature: Feature) -> bool:
    return isinstance(feature.kind, Nested)


def _labels(arguments: argparse.Namespace, found: Delimited, own: Catalog) -> _Place:
    if arguments.users:
        raise SettingsError("--users: a table has one user, whose decisions are its rows")
    built_in = catalog().policies.keys()
    policies = {name: policy for name, policy in own.policies.items() if name not in built_in}
    try:
        begun = catalog(_started(found)).policies
        policies = {name: policy for name, policy in begun.items() if name not in built_in} | policies
    except BadPolicies as error:
        if not policies:
            raise SettingsError(
                f"--on {arguments.on}: {error}; --print-policies prints a file to make smaller"
            ) from None
    decisions = min(arguments.decisions or _DECISIONS, len(found.rows))
    cut = f" (the first {MOST_ROWS:,})" if found.is_cut else ""
    about = (
        f"{Path(arguments.on).name}: {len(found.rows):,} rows{cut}, {len(found.labels)} values of {found.label!r}, "
        f"{decisions:,} decisions"
    )
    fields = frozenset(column.name for column in found.columns)
    return _Place(Table(found.rows, found.right, found.labels, decisions), policies, about, fields)


def _chosen(names: Iterable[str], place: _Place) -> list[Policy]:
    for name in names:
        if name not in place.policies:
            raise SettingsError(f"--policy: there is no policy {name!r} here; there are {', '.join(place.policies)}")
    chosen = [place.policies[name] for name in dict.fromkeys(names)]
    if place.fields is not None:
        for policy in chosen:
            _see_something(policy, place.fields)
    return chosen


def _see_something(policy: Policy, fields: frozenset[str]) -> None:
    """Refuse a policy with a feature that no row has: it would be compared without it, unnoticed."""
    for feature in policy.encoder.features:
        if feature.field not in fields and (feature.of, feature.field) != ("candidate", "id"):
            raise SettingsError(
                f"policy {policy.id}, feature {feature.name}: the table has no column {feature.field!r}; "
                f"its columns are {', '.join(sorted(fields))}"
            )


def _own(named: str, settings: Settings) -> Catalog:
    path = named or settings.policies
    where = f"--policies {path}" if named else f"POLICIES: {path}"
    try:
        text = Path(path).read_text(encoding="utf-8") if path else ""
        return catalog(text, alpha=settings.alpha, epsilon=settings.epsilon)
    except UnicodeDecodeError:
        raise SettingsError(f"{where}: is not UTF-8") from None
    except BadPolicies as error:
        raise SettingsError(f"{where}: {error}") from None


def _table(path: Path, label: str) -> Delimited:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return read(file, label)
    except BadTable as error:
        raise SettingsError(f"--on {path}: {error}") from None


def _started(found: Delimited | None) -> str:
    if found is None:
        raise SettingsError("--print-policies: prints a file for a table; name one by --on")
    built_in = catalog()
    taken = {label for feature in built_in.features.values() for label in (feature.name, *feature.labels)}
    return starter(found.columns, found.labels, taken)
