"""The command `evaluate`: what the log of decisions tells of each policy."""

import argparse
import asyncio
import shlex
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.text import Text

from app.analysis.log import Complaints
from app.analysis.simulate import picture
from app.bandit.policy import Policy
from app.catalog_file import read_catalog
from app.decision_log.lines import moment
from app.decision_log.place import PlaceError
from app.evaluation.evidence import Evidence, evidence
from app.experiments.health import problems
from app.judging.collect import BadRewards, Collected, NoSuchLoop, collect
from app.log_reading.parts import MissingExtra
from app.messages.pipeline import LoopHealth
from app.policies.catalog import Catalog
from app.report import plots
from app.report.evidence import lead, notes, page, table, verdicts
from app.report.page import html
from app.report.pipeline import arrivals
from app.settings import Settings, SettingsError
from app.terminal import FAILED, USAGE, complain, new_file, plain, progress_bar, wide_console

__all__ = ["NOTHING_LEFT", "add_evaluate", "evaluate", "moment_of"]

# The exit code if the log has no decision, or if the estimates of all policies are refused.
NOTHING_LEFT: Final = 3
_NOW: Final = "now"
_LAST_YEAR: Final = 9_998


def add_evaluate(evaluating: argparse.ArgumentParser) -> None:
    """Declare the command and its options. It has one exit code more than other commands."""
    evaluating.epilog = f"{evaluating.epilog}".replace(
        "  130", "  3    nothing is left: no decision, or all refused\n  130"
    )
    add = evaluating.add_argument
    add("log", type=Path, metavar="LOG", help="the directory of the log: lines, parts or both")
    add("--loop", metavar="NAME", help="the loop; default: the only one of the log, or tips")
    add(
        "--policy",
        action="append",
        metavar="FILE:NAME",
        help="run this policy of a file over the log as a shadow; may be repeated",
    )
    add(
        "--as-of",
        type=moment_of,
        metavar="TIME",
        help="judge as of this time: now, or a time in UTC; default: the newest line",
    )
    add("--json", action="store_true", help="print JSON")
    add("--html", type=new_file, metavar="FILE", help="write a report as one file of HTML, with plots")


async def evaluate(arguments: argparse.Namespace, settings: Settings) -> int:
    """Print the evidence as a table or JSON, and write a page if one is wanted; the exit code. Raises SettingsError and
    OSError."""
    catalog = read_catalog(settings)
    new = _new(arguments.policy or [], settings)
    if arguments.html:
        try:
            plots.require()
        except plots.MissingExtra as error:
            raise SettingsError(f"--html: {error}") from None
    bad = Complaints()
    try:
        found = await asyncio.to_thread(_collected, arguments, catalog, new, bad)
    except (PlaceError, MissingExtra) as error:
        return complain(str(error))
    except NoSuchLoop as error:
        return complain(str(error), USAGE)
    except BadRewards as error:
        return complain(f"{error}: POLICIES says what the rewards of a loop are", USAGE)
    if found is None:
        return complain(f"{arguments.log}: has no decisions", NOTHING_LEFT)
    judged = await asyncio.to_thread(_judged, found)
    about = f" from {_shown(found.first)} to {_shown(found.last)}, as of {_shown(found.as_of)} UTC"
    if not found.is_known:
        complain(f"loop {found.loop}: POLICIES does not have it; rewards count as -1 to 1, and silence not at all")
    _print(judged, about, found, as_json=arguments.json)
    if arguments.html:
        command = shlex.join(["python", "-m", "app", *sys.argv[1:]])
        made = page(judged, command, about, arrivals(_health(found, judged, catalog)))
        arguments.html.write_text(html(made), encoding="utf-8")
    if judged.is_empty:
        return NOTHING_LEFT
    return FAILED if bad.count else 0


def moment_of(text: str) -> int:
    """A moment (ms since 1970) of the command line; without a time zone it is UTC."""
    if text == _NOW:
        return int(time.time() * 1_000)
    try:
        found = datetime.fromisoformat(text)
        if found.tzinfo is None:
            found = found.replace(tzinfo=UTC)
        if not 1970 <= found.year <= _LAST_YEAR:
            raise ValueError
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"takes now, or a time such as 2026-11-28 or 2026-11-28T09:00:00Z, not {text[:40]!r}"
        ) from None
    return int(found.timestamp() * 1_000)


def _collected(
    arguments: argparse.Namespace, catalog: Catalog, new: Mapping[str, Policy], bad: Complaints
) -> Collected | None:
    with progress_bar() as progress:
        task = progress.add_task("read", total=None)
        return collect(
            arguments.log,
            bad,
            catalog,
            loop=arguments.loop,
            as_of=arguments.as_of,
            new=new,
            advance=lambda: progress.advance(task),
        )


def _judged(found: Collected) -> Evidence:
    """The evidence, with what is to be known about new policies."""
    judged = evidence(found.logged, found.loop)
    policies = {
        name: msgspec.structs.replace(each, warnings=[*each.warnings, *found.warnings.get(name, [])])
        for name, each in judged.policies.items()
    }
    return msgspec.structs.replace(judged, policies=policies)


def _health(found: Collected, judged: Evidence, catalog: Catalog) -> LoopHealth:
    """Whether rewards arrive, as of the end of what was read."""
    known = catalog.loops.get(found.loop)
    missing = None if known is None else known.missing
    health = found.joining.health(found.as_of, at=found.as_of, champion=judged.champion, missing=missing)
    return msgspec.structs.replace(health, problems=[*problems(health)])


def _print(judged: Evidence, about: str, found: Collected, *, as_json: bool) -> None:
    if as_json:
        said: dict[str, Any] = msgspec.to_builtins(judged) | {"as_of": moment(found.as_of)}
        sys.stdout.buffer.write(msgspec.json.encode(said) + b"\n")
        sys.stdout.buffer.flush()
        return
    console = wide_console()
    console.print(picture(table(judged), lead(judged, about)))
    told = [*verdicts(judged), *notes(judged)]
    if told:
        console.print()
    for name, sentence in told:
        console.print(Text.assemble((plain(name), "bold"), f": {plain(sentence)}"))


def _shown(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1_000, UTC):%Y-%m-%d %H:%M}"


def _new(named: list[str], settings: Settings) -> dict[str, Policy]:
    """The policies that FILE:NAME name; without FILE, of the file that POLICIES names."""
    found: dict[str, Policy] = {}
    for each in named:
        file, colon, name = each.rpartition(":")
        if not colon or not name:
            raise SettingsError(f"--policy: takes FILE:NAME, such as policies.toml:push-v2, not {each!r}")
        try:
            own = read_catalog(msgspec.structs.replace(settings, policies=file or settings.policies))
        except SettingsError as error:
            raise SettingsError(f"--policy: {str(error).removeprefix('POLICIES: ')}") from None
        if name not in own.policies:
            raise SettingsError(f"--policy {each}: there is no policy {name!r}; there are {', '.join(own.policies)}")
        if name in found:
            raise SettingsError(f"--policy {each}: there is a policy {name!r} already; give it another name")
        found[name] = own.policies[name]
    return found
