"""How fast is it here? Starts Redis, the floor and the service, alternates between them and compares.

  ./dev bench                          the service beside the floor, and the pure decision
  ./dev bench --all                    everything below too (about 15 minutes)
  ./dev bench --half                   latency at half of the highest throughput
  ./dev bench --soak 300               memory under so many seconds of full load
  ./dev bench --many 1000000           that many users in Redis beside 1,000
  ./dev bench --workers 1,2            processes in one container
  ./dev bench --redis                  what a request costs Redis, and how many it carries
  ./dev bench --peers                  the pure decision beside Vowpal Wabbit's and MABWiser's
  ./dev bench --core                   whether the numeric core became slower by more than half
  ./dev bench --against URL            a server that runs already, alone (--pid: its process, for processor time)

--json and --markdown print the same figures for programs and documents. Only ratios taken in one run mean anything
beyond the machine they were measured on.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from bench import decide, experiments, report
from bench.measure import Load, Target, machine


def _arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./dev bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--modes", default=",".join(experiments.MODES), help="of " + ", ".join(experiments.MODES))
    parser.add_argument("--rounds", type=int, default=5, help="runs of each, medians are shown (5)")
    parser.add_argument("--seconds", type=int, default=5, help="of one run (5)")
    parser.add_argument("--connections", type=int, default=32, help="that wrk keeps busy (32)")
    parser.add_argument("--users", type=int, default=5_000, help="whom the requests name (5000)")
    parser.add_argument("--half", action="store_true")
    parser.add_argument("--soak", type=int, metavar="SECONDS")
    parser.add_argument("--many", type=int, metavar="USERS")
    parser.add_argument("--workers", metavar="N,N")
    parser.add_argument("--redis", action="store_true")
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--core", action="store_true")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--against", metavar="URL")
    parser.add_argument("--pid", type=int, help="the server's process, with --against")
    parser.add_argument("--redis-pid", type=int, help="its Redis's process, with --against")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args(words)
    if options.all:
        options.half = options.redis = options.peers = True
        options.soak = options.soak or 300
        options.many = options.many or 1_000_000
        options.workers = options.workers or "1,2"
    unknown = set(options.modes.split(",")) - set(experiments.MODES)
    if unknown:
        parser.error(f"--modes takes {', '.join(experiments.MODES)}, not {', '.join(sorted(unknown))}")
    return options


def _plan(options: argparse.Namespace) -> list[Callable[[], list[report.Section]]]:
    """What was asked for, in order; without any wish the comparison with the floor."""
    load = Load(users=options.users, connections=options.connections, seconds=options.seconds)
    modes, rounds = options.modes.split(","), options.rounds
    if options.against:
        target = Target("server", options.against, options.pid, options.redis_pid)
        return [lambda: experiments.one_server(target, modes, rounds, load)]
    wishes: list[tuple[object, Callable[[], list[report.Section]]]] = [
        (options.half, lambda: experiments.half_load(rounds, load)),
        (options.workers, lambda: experiments.workers([int(n) for n in options.workers.split(",")], rounds, load)),
        (options.redis, lambda: experiments.redis_load(rounds, load)),
        (options.many, lambda: experiments.many_users(options.many, rounds, load)),
        (options.soak, lambda: experiments.soak(options.soak, load)),
        (options.peers, decide.beside_peers),
    ]
    plan = [experiment for wish, experiment in wishes if wish]
    if options.all or not plan:
        plan = [decide.alone, lambda: experiments.against_floor(modes, rounds, load), *plan]
    return plan


def main(words: list[str]) -> int:
    """Run what was asked for; 1 if a promise was missed."""
    options = _arguments(words)
    if not Path("/proc/self/stat").exists():
        raise SystemExit("./dev bench reads processor time from /proc: it needs Linux")
    if options.core:
        return decide.guard()
    here = machine()
    where = ", ".join(f"{name} {value}" for name, value in here.items())
    quiet = options.json or options.markdown
    if not quiet:
        print(where)
    sections: list[report.Section] = []
    for experiment in _plan(options):
        found = experiment()
        sections += found
        for section in [] if quiet else found:
            report.show(section)
    verdicts = report.verdicts(sections)
    met = all(check.met for section in sections for check in section.checks)
    if options.json:
        checks = [msgspec.structs.asdict(check) | {"met": check.met} for each in sections for check in each.checks]
        data = {"machine": here, "met": met, "checks": checks, "sections": sections}
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(data), indent=2) + b"\n")
    elif options.markdown:
        print(f"Measured on: {where}.\n")
        print("\n".join(report.markdown(section) for section in [*sections, verdicts] if section.rows))
    elif verdicts.rows:
        report.show(verdicts)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
