"""What the log costs: a service that keeps one in a directory beside one that keeps none, in turn, over one Redis."""

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

import msgspec

from bench.decisions import DecidedUsers, Mode
from bench.measure import Load, Run, Target, again, cpu_seconds
from bench.report import Check, Section, failures, known, spread
from bench.servers import kept_redis, serving

__all__ = ["beside_none"]

_WORKS: Final = {
    "made": Mode("decision, three shadows", "decide", 1, 5_000, 40, limit=15.0),
    "told": Mode("reward by id, four policies", "outcome", 32, 2_000, 31),
}
# Until the lines of a run have left the process: what that takes counts, too.
_REST: Final = 1.0


def beside_none(rounds: int, load: Load) -> list[Section]:
    """Each work without a log and with one, and how much more that takes."""
    runs: dict[str, list[tuple[Run, Run]]] = {name: [] for name in _WORKS}
    with (
        TemporaryDirectory() as directory,
        kept_redis() as server,
        serving(server) as plain,
        serving(server, DECISION_LOG=Path(directory).as_uri()) as logs,
        server.client() as client,
    ):
        users = {
            name: [(target, DecidedUsers(server, client, target, name + kind, mode)) for kind, target in kinds]
            for name, mode in _WORKS.items()
            for kinds in [(("-", plain), ("+", logs))]
        }
        for pair in users.values():
            for target, each in pair:
                each.run(target, again(load, seconds=1))
        for number in range(rounds):
            for name, pair in users.items():
                without, with_log = (_run(target, each, again(load, seed=number * 1_000_003)) for target, each in pair)
                runs[name].append((without, with_log))
    return [_section(runs, f"{load.connections} connections, {rounds} runs of {load.seconds} s each")]


def _section(runs: dict[str, list[tuple[Run, Run]]], how: str) -> Section:
    """Processor time of each pair of runs."""
    rows, checks = [], []
    for name, pairs in runs.items():
        mode, cpu = _WORKS[name], _more(pairs, "cpu")
        each = (median(known(pair[place], "cpu") for pair in pairs) for place in range(2))
        rows.append(
            [mode.work, *(f"{cost:.1f}" for cost in each), spread(cpu, 1), spread(_more(pairs, "redis_cpu"), 1)]
        )
        checks.append(Check(f"errors: {mode.work}", float(failures([run for pair in pairs for run in pair])), 0, ""))
        if mode.limit:
            checks.append(Check(f"CPU of the log: {mode.work}", median(cpu), mode.limit, "µs"))
    header = ["", "CPU µs without a log", "with one", "more", "Redis CPU µs, more"]
    return Section("The log", f"{how}; what is more: median of all pairs (least to most)", header, rows, checks)


def _run(target: Target, users: DecidedUsers, load: Load) -> Run:
    """One run; the processor time is counted until the lines have left the process."""
    if target.pid is None:
        raise SystemExit("the process of the service is unknown")
    before = cpu_seconds(target.pid)
    run, _ = users.run(target, load)
    time.sleep(_REST)
    return msgspec.structs.replace(run, cpu=(cpu_seconds(target.pid) - before) / max(run.requests, 1) * 1e6)


def _more(pairs: Sequence[tuple[Run, Run]], name: str) -> list[float]:
    return [known(with_log, name) - known(without, name) for without, with_log in pairs]
