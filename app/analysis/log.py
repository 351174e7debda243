"""The commands `log …`: what is made of the log of decisions."""

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from functools import wraps
from pathlib import Path
from typing import Final

import msgspec
import nats.errors
from rich.table import Table
from rich.text import Text

from app.analysis.verify import counts, verified
from app.catalog_file import read_catalog
from app.decision_log.files import remove_old
from app.decision_log.jetstream import Stream
from app.decision_log.place import PlaceError
from app.events.client import reach, servers
from app.judging.then import Then, then
from app.log_reading.compact import compact
from app.log_reading.dsjson import dsjson
from app.log_reading.joined import Told, joined
from app.log_reading.order import by_decision
from app.log_reading.parts import MissingExtra
from app.log_reading.pull import pull
from app.log_reading.reading import read
from app.messages.decision_ids import parsed
from app.settings import Settings, SettingsError
from app.terminal import (
    CATALOG,
    FAILED,
    NATS,
    PATIENCE,
    REDIS,
    complain,
    connected,
    days,
    plain,
    progress_bar,
    say,
    wide_console,
)

__all__ = ["Complaints", "add_log"]

_Command = Callable[[argparse.Namespace, Settings], Coroutine[None, None, int]]
_DAY: Final = 86_400
_LONGEST: Final = 60  # characters of a candidate's features in a table


def add_log(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Declare the commands."""
    compacting = add(
        "compact", _compact, "make Parquet of new lines, hour by hour", "compact /var/log/oo --keep-lines 7", CATALOG
    )
    text = "write decisions that have a reward for Vowpal Wabbit"
    exporting = add("dsjson", _dsjson, text, "dsjson /var/log/oo > log.dsjson")
    text = "show what the log has of a decision"
    explaining = add("explain", _explain, text, "explain /var/log/oo monday.YW5u", CATALOG)
    text = "compare the models in Redis with those that the log tells"
    verifying = add("verify", _verify, text, "verify /var/log/oo", REDIS)
    pulling = add("pull", _pull, "copy the stream from NATS to files of lines", "pull /var/log/oo", NATS)
    for one in (compacting, exporting, explaining, verifying, pulling):
        one.add_argument("directory", type=Path, metavar="DIR", help="the directory of the log")
    compacting.add_argument(
        "--keep-lines",
        type=days,
        metavar="DAYS",
        help="remove files of lines that are older (at least 1), now in parts",
    )
    exporting.add_argument("--loop", metavar="NAME", help="only this loop")
    explaining.add_argument("id", metavar="ID", help="the decision_id")


def _reported(command: _Command) -> _Command:
    """The command, whose failures are lines."""

    @wraps(command)
    async def reported(arguments: argparse.Namespace, settings: Settings) -> int:
        try:
            return await command(arguments, settings)
        except (PlaceError, MissingExtra) as error:
            return complain(str(error))

    return reported


class Complaints:
    """Complains of lines that cannot be read, and counts them."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, problem: str) -> None:
        self.count += 1
        complain(f"left out: {problem}")


@_reported
async def _compact(arguments: argparse.Namespace, settings: Settings) -> int:
    bad = Complaints()
    loops, now = read_catalog(settings).loops, int(time.time() * 1_000)
    with progress_bar() as progress:
        task = progress.add_task("compact")

        def advance(done: int, whole: int) -> None:
            progress.update(task, completed=done, total=whole)

        done = await asyncio.to_thread(compact, arguments.directory, bad, advance, loops=loops, now=now)
    removed = 0
    if arguments.keep_lines is not None:
        removed = remove_old(arguments.directory, time.time() - max(arguments.keep_lines, 1) * _DAY)
    counted = (
        f"{done.lines:,} lines; parts written: {done.parts:,}; sums of {done.sums:,} hours; left out: {bad.count:,}"
    )
    say(f"compacted: {counted}; files removed: {removed:,}")
    return FAILED if bad.count else 0


@_reported
async def _dsjson(arguments: argparse.Namespace, _: Settings) -> int:
    bad, count = Complaints(), 0
    for told in joined(read(arguments.directory, bad, by_decision)):
        if arguments.loop in (None, told.decision.loop) and (example := dsjson(told)) is not None:
            sys.stdout.buffer.write(example + b"\n")
            count += 1
    sys.stdout.buffer.flush()
    sys.stderr.write(f"{count:,} examples\n")
    return FAILED if bad.count else 0


@_reported
async def _pull(arguments: argparse.Namespace, settings: Settings) -> int:
    listed = servers(settings.nats_url)
    if not listed:
        raise SettingsError("NATS_URL: takes the servers whose stream is to be copied")
    try:
        client = await reach(listed, settings.nats_creds)
    except (nats.errors.Error, TimeoutError, OSError):
        return complain("NATS cannot be reached: is NATS_URL right?")
    try:
        stream = Stream(client.jetstream(domain=settings.nats_jetstream_domain or None))
        with progress_bar() as progress:
            task = progress.add_task("pull", total=None)
            count, lost = await pull(stream, arguments.directory, lambda lines: progress.advance(task, lines))
    finally:
        await client.close()
    say(f"pulled: {count:,} lines")
    if lost:
        return complain(f"{lost:,} messages were dropped by their age before they were copied: pull more often")
    return 0


@_reported
async def _verify(arguments: argparse.Namespace, settings: Settings) -> int:
    bad = Complaints()
    async with connected(settings) as servers:
        found = await verified(servers, arguments.directory, bad, PATIENCE)
    for one in found:
        if one.what != "agrees":
            complain(plain(f"{one.user}: {one.what}: {'; '.join(one.why)}"))
    of = counts(found)
    say(f"users that agree: {of['agrees']:,}; that differ: {of['differs']:,}; not known: {of['unknown']:,}")
    return FAILED if bad.count or of["agrees"] < len(found) else 0


@_reported
async def _explain(arguments: argparse.Namespace, settings: Settings) -> int:
    named = parsed(arguments.id)
    if named is None:
        return complain(f"{arguments.id}: is not a decision_id")
    bad, policies = Complaints(), read_catalog(settings).policies
    found = list(_of(named[1], arguments.id, arguments.directory, bad))
    for told in found:
        _show(told, then(read(arguments.directory, lambda _: None, user=named[1]), told.decision, policies))
    if not found:
        return complain(f"{arguments.id}: the log has no such decision")
    return FAILED if bad.count else 0


def _of(user: str, decision_id: str, directory: Path, bad: Complaints) -> Iterator[Told]:
    """The decisions of a user that had this id, one after the other."""
    found = joined(read(directory, bad, by_decision, user))
    return (told for told in found if told.decision.id == decision_id)


def _show(told: Told, known: Then) -> None:
    made = told.decision
    console = wide_console()
    say(f"{made.id}: line {made.seq} of the user {made.user}, epoch {made.epoch}")
    versions = ", ".join(f"{policy} {version}" for policy, version in made.versions.items())
    prior = ", ".join(f"{policy} {version}" for policy, version in made.prior.items() if version)
    say(f"decided {made.ts} in the loop {made.loop}, state {made.state}, by {made.policy} as {made.arm}")
    say(f"versions: {versions or 'none'}; priors: {prior or 'none'}; seed: {made.seed}")
    say(f"context: {_json(made.context)}; user: {_json(made.user_features)}")
    table = Table("", "candidate", "drawn from", *made.by_policy, "features")
    for place, each in enumerate(made.candidates):
        sign = "→" if place == made.chosen else "excluded" if place in made.excluded else ""
        shares = (made.propensities[place], *(shares[place] for shares in made.by_policy.values()))
        cells = (sign, each.id, *(f"{share:.4g}" for share in shares), _json(each.features)[:_LONGEST])
        table.add_row(*(Text(plain(cell)) for cell in cells))
    console.print(table)
    chance = "by exploration" if made.explored else "as the best"
    say(f"chosen {chance}, propensity {made.propensity!r}, score {made.score!r}")
    say(f"columns of the chosen one: {', '.join(f'{label} {value!r}' for label, value in made.x.items())}")
    for policy, columns in known.items():
        if isinstance(columns, str):
            say(f"{policy} then: not known: {columns}")
        else:
            parts = " + ".join(f"{label} {weight:.4g}·{value:.4g}" for label, (weight, value) in columns.items())
            say(f"{policy} then: {sum(weight * value for weight, value in columns.values()):.4g} = {parts}")
    for outcome in told.outcomes:
        late = ", late" if outcome.late else ""
        part = f" of {outcome.part}" if outcome.part else ""
        taught = f"; taught {', '.join(outcome.learned)}" if outcome.learned else ""
        say(f"{outcome.ts} {outcome.what}: reward{part} {outcome.reward}, in all {outcome.total}{late}{taught}")


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
