"""What is measured beside what: the runs that alternate, and the bound of each figure."""

import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from statistics import median
from typing import Final

import msgspec

from bench.measure import Load, Run, Target, again, measure, sampled_memory, warm
from bench.report import HEADER, Check, Section, failures, known, medians, spread
from bench.servers import kept_redis, serving, the_floor
from bench.users import DECISIONS, POLICY, preload
from state import keys
from tests.support.waiting import until

__all__ = [
    "MODES",
    "against_floor",
    "half_load",
    "many_users",
    "one_server",
    "redis_load",
    "replica",
    "soak",
    "workers",
]

# Processor time of the service per request, in units of the floor's in the same run.
MODES: Final = {
    "score": ("score, 10 candidates, d=5", 0.7),
    "egreedy2": ("score, 10 candidates, d=12 with profile", 0.7),
    "big": ("score, 200 candidates", 1.8),
    "reward": ("reward", 0.6),
    "hot": ("reward, all connections on one user", 0.55),
}


def _rewards(url: str, user: str) -> int:
    with urllib.request.urlopen(f"{url}/stats/{user}", timeout=5) as answer:
        return int(msgspec.json.decode(answer.read())["reward_count"])


def against_floor(modes: Sequence[str], rounds: int, load: Load) -> list[Section]:
    """The service beside the floor: before each run of the service one of the floor, ratios taken of the two."""
    runs: dict[str, list[tuple[Run, Run]]] = {mode: [] for mode in modes}
    lost = 0
    with kept_redis() as redis, the_floor(redis) as floor, serving(redis) as served:
        warm([floor], load)
        for mode in modes:
            warm([served], again(load, mode=mode))
        for number in range(rounds):
            for mode in modes:
                seed = number * 1_000_003
                base = measure(floor, again(load, seed=seed))
                before = _rewards(served.url, "uhot") if mode == "hot" else 0
                run = measure(served, again(load, mode=mode, seed=seed))
                if mode == "hot":
                    lost += max(0, run.requests - (_rewards(served.url, "uhot") - before))
                runs[mode].append((base, run))
    floors = [base for pairs in runs.values() for base, _ in pairs]
    rows = [medians("floor", floors)] + [medians(MODES[mode][0], [run for _, run in runs[mode]]) for mode in modes]
    ratios, checks = [], []
    for mode in modes:
        work, limit = MODES[mode]
        cpu, redis_cpu, throughput, p50, p99, memory = (
            [known(run, name) / known(base, name) for base, run in runs[mode]]
            for name in ("cpu", "redis_cpu", "throughput", "p50", "p99", "memory")
        )
        figures = (spread(each) for each in (cpu, redis_cpu, throughput, p50, p99))
        ratios.append([work, *figures, f"{median(memory):.2f}"])
        checks.append(Check(f"CPU: {work}", median(cpu), limit, "of floor"))
        checks.append(Check(f"Redis's CPU: {work}", median(redis_cpu), 1.0, "of floor"))
        checks.append(Check(f"errors: {work}", sum(r.bad_status + r.broken for _, r in runs[mode]), 0, ""))
    if "hot" in modes:
        checks.append(Check("updates of one user lost", lost, 0, ""))
    single = {"floor": floors} | {mode: [run for _, run in runs[mode]] for mode in modes}
    how = f"{load.connections} connections, {load.users:,} users, {rounds} runs of {load.seconds} s each"
    return [
        Section("Medians per request", how, HEADER, rows, runs=single),
        Section(
            "In units of the floor",
            "Median of the ratios to the floor's run just before (least to most)",
            ["", *HEADER[1:-1]],
            ratios,
            checks,
        ),
    ]


def one_server(target: Target, modes: Sequence[str], rounds: int, load: Load) -> list[Section]:
    """A server that runs already, alone."""
    for mode in modes:
        warm([target], again(load, mode=mode))
    runs: dict[str, list[Run]] = {mode: [] for mode in modes}
    for number in range(rounds):
        for mode in modes:
            runs[mode].append(measure(target, again(load, mode=mode, seed=number * 1_000_003)))
    how = f"{target.url}, {load.connections} connections, {load.users:,} users, {rounds} runs of {load.seconds} s each"
    return [
        Section("Medians per request", how, HEADER, [medians(MODES[mode][0], runs[mode]) for mode in modes], runs=runs)
    ]


def _paced(target: Target, load: Load, goal: float) -> Load:
    """`load` with pauses such that about `goal` requests per second are sent, found in three short runs."""
    pace = load.connections / goal * 1e3
    for _ in range(3):
        found = measure(target, again(load, seconds=2, pace=pace)).throughput
        pace = max(0.1, pace + load.connections * 1e3 * (1 / goal - 1 / found))
    return again(load, pace=pace)


def half_load(rounds: int, load: Load) -> list[Section]:
    """Latency at half of the highest throughput: each connection pauses before a request, at random."""
    full: dict[str, list[Run]] = {"floor": [], "service": []}
    half: dict[str, list[Run]] = {"floor": [], "service": []}
    with kept_redis() as redis, the_floor(redis) as floor, serving(redis) as served:
        targets = (floor, served)
        warm(targets, load)
        for _ in range(3):
            for target in targets:
                full[target.name].append(measure(target, load))
        paced = {each.name: _paced(each, load, max(run.throughput for run in full[each.name]) / 2) for each in targets}
        for number in range(rounds):
            for target in targets:
                half[target.name].append(measure(target, again(paced[target.name], seed=number * 1_000_003)))
    rows, checks = [], []
    for name in ("floor", "service"):
        rows.append(medians(f"{name}, full load", full[name]))
        rows.append(medians(f"{name}, half of it", half[name]))
    tails = [run.p99 / run.p50 for run in half["service"]]
    share = median([run.throughput for run in half["service"]]) / max(run.throughput for run in full["service"])
    checks.append(Check("p99 in units of p50, at half of the highest throughput", median(tails), 2.5, "of p50"))
    how = (
        f"{load.connections} connections, each pausing for an exponentially distributed time before a request; the "
        f"pauses are no part of the latencies. The service at {share:.0%} of its highest, p99/p50: {spread(tails)}"
    )
    return [Section("Half of the highest throughput, score", how, HEADER, rows, checks)]


def soak(seconds: int, load: Load) -> list[Section]:
    """Memory under full load of scores and rewards: its end beside its beginning."""
    with kept_redis() as redis, serving(redis) as served:
        warm([served], again(load, mode="mixed"))
        if served.pid is None:
            raise SystemExit("the service has no process")
        with sampled_memory(served.pid) as samples:
            run = measure(served, again(load, mode="mixed", seconds=seconds))
    fifth = max(1, len(samples) // 5)
    parts = [samples[start : start + fifth] for start in range(0, fifth * 5, fifth)]
    first, last = median(parts[1]), median(parts[4])
    grown = (last - first) * 1e6 / (run.requests * 3 / 5)
    rows = [[f"{index + 1}/5", f"{median(part):.1f}", f"{max(part):.1f}"] for index, part in enumerate(parts)]
    how = (
        f"{run.requests:,} requests in {seconds} s, two scores to a reward, {load.users:,} users, errors: "
        f"{failures([run])}; from the second fifth to the last {grown:+.2f} bytes per request"
    )
    check = Check("growth of memory, second to last fifth", (last / first - 1) * 100, 2.0, "%")
    return [Section("Memory under full load, MB", how, ["part of the run", "median", "most"], rows, [check])]


def many_users(users: int, rounds: int, load: Load) -> list[Section]:
    """A Redis that holds `users` users beside one that holds 1,000, each with a service of its own."""
    few = 1_000
    runs: dict[int, list[Run]] = {few: [], users: []}
    with ExitStack() as stack:
        targets: dict[int, Target] = {}
        memory: dict[int, float] = {}
        for count in (few, users):
            redis = stack.enter_context(kept_redis())
            preload(redis.port, count)
            memory[count] = float(redis.info()["used_memory"]) / 1e6
            # As many decisions as were preloaded: otherwise the lists of few users would soon be the longer ones.
            targets[count] = stack.enter_context(serving(redis, FEATURE_HISTORY_SIZE=str(DECISIONS)))
            warm([targets[count]], again(load, users=count))
        for number in range(rounds):
            for count, target in targets.items():
                runs[count].append(measure(target, again(load, users=count, seed=number * 1_000_003)))
    slower = [1 - many.throughput / one.throughput for one, many in zip(runs[few], runs[users], strict=True)]
    later = [many.p99 / one.p99 - 1 for one, many in zip(runs[few], runs[users], strict=True)]
    rows = [medians(f"{count:,} users, {memory[count]:,.0f} MB in Redis", runs[count]) for count in runs]
    how = (
        f"score of all users in turn, a model of d=5 and {DECISIONS} decisions each, {rounds} runs of {load.seconds} s"
    )
    checks = [
        Check(f"throughput lost with {users:,} users", median(slower) * 100, 10.0, "%"),
        Check(f"p99 gained with {users:,} users", median(later) * 100, 10.0, "%"),
    ]
    return [Section("Many users", how, HEADER, rows, checks)]


def workers(counts: Sequence[int], rounds: int, load: Load) -> list[Section]:
    """WORKERS=n on one Redis, the floor beside it."""
    runs: dict[str, list[Run]] = {}
    with ExitStack() as stack:
        redis = stack.enter_context(kept_redis())
        targets = {f"WORKERS={n}": stack.enter_context(serving(redis, WORKERS=str(n))) for n in counts}
        warm(list(targets.values()), load)
        for number in range(rounds):
            for name, target in targets.items():
                runs.setdefault(name, []).append(measure(target, again(load, seed=number * 1_000_003)))
    how = f"score, {load.connections} connections, {load.users:,} users; load, Redis and service share this machine"
    return [Section("Processes in one container", how, HEADER, [medians(name, each) for name, each in runs.items()])]


def replica(rounds: int, load: Load) -> list[Section]:
    """REDIS_WAIT_REPLICAS=0 and 1 on one Redis that has a replica, at full load and one request at a time."""
    runs: dict[str, list[Run]] = {}
    with ExitStack() as stack:
        redis = stack.enter_context(kept_redis())
        stack.enter_context(kept_redis("--replicaof", f"127.0.0.1 {redis.port}"))
        until(lambda: redis.info().get("connected_slaves") == "1", "the replica connected")
        targets = {n: stack.enter_context(serving(redis, REDIS_WAIT_REPLICAS=str(n))) for n in (0, 1)}
        rewards = again(load, mode="reward")
        warm(list(targets.values()), rewards)
        for number in range(rounds):
            for width in (load.connections, 1):
                for n, target in targets.items():
                    run = measure(target, again(rewards, connections=width, seed=number * 1_000_003))
                    runs.setdefault(f"REDIS_WAIT_REPLICAS={n}, {width} at once", []).append(run)
    how = f"reward, {load.users:,} users; load, Redis, its replica and the service share this machine"
    return [Section("Waiting for a replica", how, HEADER, [medians(name, each) for name, each in runs.items()])]


def redis_load(rounds: int, load: Load) -> list[Section]:
    """What a request costs Redis: least when many share a transaction, most when each has its own."""
    widths = (1, 4, 16, 32, 128)
    runs: dict[int, list[Run]] = {width: [] for width in widths}
    with kept_redis() as redis, serving(redis) as served:
        warm([served], load)
        for number in range(rounds):
            for width in widths:
                runs[width].append(measure(served, again(load, connections=width, seed=number * 1_000_003)))
        warm([served], again(load, users=20))  # by now these have as long a history as there may be
        sizes = {key: int(redis.command("MEMORY", "USAGE", key, "SAMPLES", 0)) for key in _keys("u7")}
    rows = []
    for width, each in runs.items():
        cost = median([known(run, "redis_cpu") for run in each])
        rows.append([*medians(f"{width} at once", each)[:4], f"{0.7 * 1e6 / cost:,.0f}"])
    shown = ", ".join(f"{key} {size:,}" for key, size in sizes.items())
    how = f"score, one replica; the last column is computed: 70 % of a core over the CPU of a request. Bytes: {shown}"
    return [Section("What one Redis carries", how, [*HEADER[:4], "requests/s one Redis carries"], rows)]


def _keys(user_id: str) -> list[str]:
    return [keys.record(user_id, POLICY), keys.history(user_id)]
