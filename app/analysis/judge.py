"""The command `judge`: evidence of each loop, made from the log and kept in Redis for changes of who serves it."""

import argparse
import asyncio
import time
from functools import partial
from pathlib import Path

from app.analysis.evaluate import moment_of
from app.analysis.log import Complaints
from app.catalog_file import read_catalog
from app.decision_log.place import PlaceError
from app.evaluation.evidence import Evidence, evidence
from app.experiments import health as healths
from app.experiments.verdict import Verdict, encode
from app.judging.collect import BadRewards, Collected, NoSuchLoop, collect
from app.judging.summed import Summed, summed
from app.log_reading.parts import MissingExtra
from app.messages.pipeline import LoopHealth
from app.policies.catalog import Catalog
from app.policies.loop import Loop
from app.settings import Settings
from app.terminal import FAILED, PATIENCE, USAGE, complain, connected, say
from state.errors import CorruptState
from state.store import Store

__all__ = ["add_judge", "judge"]


def add_judge(judging: argparse.ArgumentParser) -> None:
    """What the command takes."""
    judging.add_argument("log", type=Path, metavar="LOG", help="the directory of the log: lines, parts or both")
    judging.add_argument("--loop", metavar="NAME", help="only this loop; default: all of POLICIES")
    how = judging.add_mutually_exclusive_group()
    how.add_argument("--sums", action="store_true", help="from the sums of log compact, however long the log is")
    how.add_argument(
        "--as-of", type=moment_of, metavar="TIME", help="as if it were then: now, or a time in UTC; default: the newest"
    )


async def judge(arguments: argparse.Namespace, settings: Settings) -> int:
    """Keep the evidence of the loops in Redis; the exit code. Raises SettingsError and OSError."""
    catalog, bad = read_catalog(settings), Complaints()
    if arguments.loop is not None and arguments.loop not in catalog.loops:
        return complain(f"--loop: there is no {arguments.loop!r}, there are {', '.join(catalog.loops)}", USAGE)
    names = [arguments.loop] if arguments.loop else list(catalog.loops)
    kept = 0
    async with connected(settings) as servers:
        store = Store(servers, timeout=PATIENCE, history_size=1, marker_seconds=1)
        for name in names:
            try:
                found = await asyncio.to_thread(_judged, arguments, catalog, name, bad)
            except (PlaceError, MissingExtra, BadRewards) as error:
                return complain(f"loop {name}: {error}")
            if found is None:
                continue
            known, health = found
            verdict = Verdict(int(time.time()), known.champion, known)
            await store.loops.keep_evidence(name, encode(verdict), partial(_continued, name, health, known))
            kept += 1
            say(f"judged: loop {name}: {known.matured:,} matured decisions; champion {known.champion}")
            for problem in healths.problems(health):
                complain(f"loop {name}: {problem}")
    if not kept:
        what = "sums" if arguments.sums else "decisions"
        nothing = f"{arguments.log}: has no {what} of {', '.join(names)}"
        if arguments.loop is not None:
            return complain(nothing)
        say(nothing)  # no decision was made yet: not a failure
    return FAILED if bad.count else 0


def _judged(
    arguments: argparse.Namespace, catalog: Catalog, name: str, bad: Complaints
) -> tuple[Evidence, LoopHealth] | None:
    """The evidence of a loop, and how its rewards find decisions; None if the log has none of its decisions."""
    if arguments.sums:
        found = summed(arguments.log, bad, catalog, name)
        return None if found is None else (found.evidence, _health(found, found.evidence, catalog.loops[name]))
    try:
        read = collect(arguments.log, bad, catalog, loop=name, as_of=arguments.as_of, new={}, advance=lambda: None)
    except NoSuchLoop:
        return None
    if read is None:
        return None
    known = evidence(read.logged, read.loop)
    return known, _health(read, known, catalog.loops[name])


def _health(found: Collected | Summed, known: Evidence, loop: Loop) -> LoopHealth:
    now = int(time.time() * 1_000)
    return found.joining.health(found.as_of, at=now, champion=known.champion, missing=loop.missing)


def _continued(name: str, health: LoopHealth, known: Evidence, text: bytes | None) -> bytes:
    """The health as it is kept, after the one that was."""
    try:
        before = None if text is None else healths.decode(name, text)
    except CorruptState:  # it is replaced, and its past is lost
        before = None
    return healths.encode(healths.continued(health, known, before))
