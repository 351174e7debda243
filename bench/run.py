"""How fast is it here? Starts Redis, the floor and the service, alternates between them and compares.

  ./dev bench                          the service beside the floor, and the pure decision
  ./dev bench --all                    everything down to --peers too (about half an hour)
  ./dev bench --decisions              decisions and rewards by id beside the floor and a score, and their bytes
  ./dev bench --batches                decisions and rewards in batches beside single ones, and single ones beside them
  ./dev bench --log                    what the log of decisions costs a decision and a reward by id
  ./dev bench --hot 60                 one user with a large loop, on four replicas, for so many seconds
  ./dev bench --half                   latency at half of the highest throughput
  ./dev bench --soak 300               memory under so many seconds of full load
  ./dev bench --many 1000000           that many users in Redis beside 1,000
  ./dev bench --workers 1,2            processes in one container
  ./dev bench --nodes                  two processes, and a cluster of three nodes, beside one; the bytes of a user
  ./dev bench --scale                  what some deployments need, computed from what was measured
  ./dev bench --replica                rewards that wait for a replica of Redis, and that do not
  ./dev bench --redis                  what a request costs Redis, and how many it carries
  ./dev bench --peers                  the pure decision beside Vowpal Wabbit's and MABWiser's
  ./dev bench --generate               /score while slow language models are asked
  ./dev bench --events                 events from NATS; --events 3: shared by three replicas
  ./dev bench --learning DIR           what it learns on two data sets of UCI's, beside promised numbers (2 minutes)
  ./dev bench --evidence 2000          how often gate and intervals err, in so many runs each (2 minutes)
  ./dev bench --core                   whether the numeric core became slower by more than half
  ./dev bench --calls                  calls and opcodes of a request, which are the same in every run
  ./dev bench --against URL            a server that runs already, alone (--pid: its process, for processor time)

--json and --markdown print the same figures for programs and documents. Only ratios taken in one run mean anything
beyond the machine they were measured on.
"""

import argparse
import sys
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path

import msgspec

from bench import (
    batches,
    calls,
    comparisons,
    decide,
    decisions,
    events,
    evidence,
    generate,
    hot,
    ladder,
    learning,
    log,
    nodes,
    report,
    scale,
)
from bench.measure import Load, Target, hardware, machine, require


def _arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./dev bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--modes", default=",".join(comparisons.MODES), help="of " + ", ".join(comparisons.MODES))
    parser.add_argument("--rounds", type=int, default=5, help="runs of each, medians are shown (5)")
    parser.add_argument("--seconds", type=int, default=5, help="of one run (5)")
    parser.add_argument("--connections", type=int, default=32, help="that wrk keeps busy (32)")
    parser.add_argument("--users", type=int, default=5_000, help="whom the requests name (5000)")
    parser.add_argument("--decisions", action="store_true")
    parser.add_argument("--batches", action="store_true")
    parser.add_argument("--log", action="store_true")
    parser.add_argument("--hot", type=int, metavar="SECONDS")
    parser.add_argument("--half", action="store_true")
    parser.add_argument("--soak", type=int, metavar="SECONDS")
    parser.add_argument("--many", type=int, metavar="USERS")
    parser.add_argument("--workers", metavar="N,N")
    parser.add_argument("--nodes", action="store_true")
    parser.add_argument("--scale", action="store_true")
    parser.add_argument("--replica", action="store_true")
    parser.add_argument("--redis", action="store_true")
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--generate", action="store_true")
    parser.add_argument("--events", type=int, nargs="?", const=1, metavar="REPLICAS")
    parser.add_argument("--learning", type=Path, metavar="DIR", help="with magic04.data and agaricus-lepiota.data")
    parser.add_argument("--evidence", type=int, metavar="RUNS")
    parser.add_argument("--core", action="store_true")
    parser.add_argument("--calls", action="store_true")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--against", metavar="URL")
    parser.add_argument("--pid", type=int, help="the server's process, with --against")
    parser.add_argument("--redis-pid", type=int, help="its Redis's process, with --against")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args(words)
    if options.all:
        options.decisions = options.log = options.half = options.redis = options.peers = True
        options.soak = options.soak or 300
        options.many = options.many or 1_000_000
        options.workers = options.workers or "1,2"
    unknown = set(options.modes.split(",")) - set(comparisons.MODES)
    if unknown:
        parser.error(f"--modes takes {', '.join(comparisons.MODES)}, not {', '.join(sorted(unknown))}")
    return options


def _plan(options: argparse.Namespace) -> list[Callable[[], list[report.Section]]]:
    """What was asked for, in order; without any wish the comparison with the floor."""
    load = Load(users=options.users, connections=options.connections, seconds=options.seconds)
    modes, rounds = options.modes.split(","), options.rounds
    if options.against:
        target = Target("server", options.against, options.pid, options.redis_pid)
        return [lambda: comparisons.one_server(target, modes, rounds, load)]
    wishes: list[tuple[object, Callable[[], list[report.Section]]]] = [
        (options.decisions, lambda: decisions.beside_floor(rounds, load)),
        (options.batches, lambda: batches.beside_singles(rounds, load)),
        (options.log, lambda: log.beside_none(rounds, load)),
        (options.hot, lambda: hot.large_loop(options.hot)),
        (options.half, lambda: comparisons.half_load(rounds, load)),
        (options.workers, lambda: comparisons.workers([int(n) for n in options.workers.split(",")], rounds, load)),
        (options.nodes, lambda: nodes.side_by_side(rounds, load)),
        (options.replica, lambda: comparisons.replica(rounds, load)),
        (options.redis, lambda: comparisons.redis_load(rounds, load)),
        (options.many, lambda: comparisons.many_users(options.many, rounds, load)),
        (options.soak, lambda: comparisons.soak(options.soak, load)),
        (options.peers, decide.beside_peers),
        (options.generate, lambda: generate.slow_model(rounds=rounds)),
        (options.events, lambda: events.written_events(replicas=options.events, rounds=rounds)),
    ]
    plan = [measure for wish, measure in wishes if wish]
    if options.all or not plan:
        plan = [decide.alone, lambda: comparisons.against_floor(modes, rounds, load), *plan]
    return plan


def _computed(options: argparse.Namespace) -> Iterable[report.Section]:
    """What needs no server, if it was asked for."""
    if options.calls:
        return [calls.section()]
    if options.scale:
        return scale.sections()
    if options.evidence:
        return chain(evidence.sections(options.evidence), ladder.sections(options.evidence))
    return learning.sections(options.learning) if options.learning else []


def main(words: list[str]) -> int:
    """Run what was asked for; 1 if a promise was missed."""
    options = _arguments(words)
    if not Path("/proc/self/stat").exists():
        raise SystemExit("./dev bench reads processor time from /proc: it needs Linux")
    if options.core:
        return decide.guard()
    sections, here = _computed(options), hardware()
    if not sections:
        require("redis-server", "wrk", *(["nats-server"] if options.events else []))
        sections, here = (section for measure in _plan(options) for section in measure()), machine()
    if not (options.json or options.markdown):
        return report.tell(here, sections)
    found = list(sections)
    met = report.met(found)
    if options.json:
        checks = [msgspec.structs.asdict(check) | {"met": check.met} for each in found for check in each.checks]
        data = {"machine": here, "met": met, "checks": checks, "sections": found}
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(data), indent=2) + b"\n")
    else:
        print(f"Measured on: {report.words(here)}.\n")
        shown = [section for section in [*found, report.verdicts(found)] if section.rows]
        print("\n".join(report.markdown(section) for section in shown))
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
