"""One process on one Redis beside two, and beside a Redis Cluster of three nodes; and the bytes of a user."""

import re
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import fmean, median
from tempfile import TemporaryDirectory
from typing import Final

import msgspec
import redis

from bench.decisions import decide, reward
from bench.measure import Load, Run, Target, again, cpu_seconds, measure, warm
from bench.report import Section, failures, known, spread
from bench.servers import kept_redis, serving
from state import keys
from tests.support.redis_groups import redis_cluster
from tests.support.redis_servers import RedisServer
from tests.support.waiting import until

__all__ = ["side_by_side", "user_bytes"]

_WORKS: Final = {"score": "score", "reward": "reward", "decide": "decision, three shadows", "hot": "reward, one user"}
_OPENED: Final = (0, 1, 10, 100)
_METRICS: Final = ("oo_store_batch_operations_sum", "oo_store_batch_operations_count", "oo_store_conflicts_total")


class _Arm(msgspec.Struct, frozen=True):
    """What is loaded, and the Redis servers behind it."""

    target: Target
    servers: list[RedisServer]


class _Found(msgspec.Struct, frozen=True):
    """A run, Redis's processor time per request (µs) on the busiest node and on all, changes in a transaction, and lost
    races in 1,000 requests."""

    run: Run
    busiest: float
    redis: float
    together: float
    lost: float


def _metrics(target: Target) -> list[float]:
    with urllib.request.urlopen(f"{target.url}/metrics", timeout=60) as answer:
        text = answer.read().decode()
    return [sum(float(value) for value in re.findall(rf"^{name} (\S+)$", text, re.MULTILINE)) for name in _METRICS]


def _measured(arm: _Arm, load: Load) -> _Found:
    before, spent = _metrics(arm.target), [cpu_seconds(server.pid) for server in arm.servers]
    run = measure(arm.target, load)
    nodes = [
        (cpu_seconds(server.pid) - was) / max(run.requests, 1) * 1e6
        for server, was in zip(arm.servers, spent, strict=True)
    ]
    changes, transactions, races = (now - was for now, was in zip(_metrics(arm.target), before, strict=True))
    together = changes / max(transactions, 1.0)
    return _Found(run, max(nodes), sum(nodes), together, races / max(run.requests, 1) * 1_000)


def side_by_side(rounds: int, load: Load) -> list[Section]:
    """Each kind of work on each arrangement, in turn."""
    found: dict[tuple[str, str], list[_Found]] = {}
    with ExitStack() as stack:
        one, two = (stack.enter_context(kept_redis()) for _ in range(2))
        cluster = stack.enter_context(redis_cluster("--appendonly", "yes", "--appendfsync", "everysec"))
        arms = {"one process": _Arm(stack.enter_context(serving(one)), [one])}
        arms["two processes"] = _Arm(stack.enter_context(serving(two, WORKERS="2")), [two])
        spread_out = stack.enter_context(serving(cluster.masters[0], REDIS_URL=cluster.url))
        arms["one process, three nodes"] = _Arm(spread_out, cluster.masters)
        for mode in _WORKS:
            warm([arm.target for arm in arms.values()], again(load, mode=mode))
        for number in range(rounds):
            for mode in _WORKS:
                for name, arm in arms.items():
                    measured = _measured(arm, again(load, mode=mode, seed=number * 1_000_003))
                    found.setdefault((mode, name), []).append(measured)
    rows = [_row(mode, name, each, found[mode, "one process"]) for (mode, name), each in found.items()]
    header = ["", "CPU µs", "Redis CPU µs", "busiest node, µs", "requests/s", "of one process", "p99 ms"]
    header += ["changes in a transaction", "lost races in 1,000", "errors"]
    how = (
        f"{load.connections} connections, {load.users:,} users, {rounds} runs of {load.seconds} s each; load, Redis and"
        " service share this machine"
    )
    return [Section("Processes and nodes", how, header, rows), user_bytes()]


def _row(mode: str, name: str, each: Sequence[_Found], beside: Sequence[_Found]) -> list[str]:
    ratios = [mine.run.throughput / its.run.throughput for mine, its in zip(each, beside, strict=True)]
    return [
        f"{_WORKS[mode]}: {name}",
        f"{median(known(one.run, 'cpu') for one in each):.1f}",
        f"{median(one.redis for one in each):.1f}",
        f"{median(one.busiest for one in each):.1f}",
        f"{median(one.run.throughput for one in each):,.0f}",
        spread(ratios),
        f"{median(one.run.p99 for one in each):.1f}",
        f"{fmean(one.together for one in each):.1f}",
        f"{fmean(one.lost for one in each):.1f}",
        failures([one.run for one in each]),
    ]


def user_bytes() -> Section:
    """What a user of the built-in loop takes in Redis, with so many open decisions and as many rewarded ones."""
    rows = []
    with (
        TemporaryDirectory() as directory,
        kept_redis() as server,
        serving(server, DECISION_LOG=f"file://{directory}") as served,
        server.client() as client,
    ):
        for count in _OPENED:
            sizes = []
            for rewarded in (False, True):
                user = f"user-{count:04}-{rewarded:d}"
                ids = decide(served, user, "k", max(count, 1))
                if rewarded or not count:
                    reward(served, ids)
                sizes.append(_sizes(client, user))
            rows += [
                [f"{count} {state}", *(f"{size[kind]:,}" for kind in ("models", "decisions", "history", "all"))]
                for state, size in zip(("open", "rewarded") if count else ("open, 1 rewarded",), sizes, strict=False)
            ]
        until(lambda: len(_lines(directory)) >= 2 * sum(_OPENED), "the log was written")
        lines = [len(line) for line in _lines(directory) if line.startswith(b'{"kind":"decision"')]
    how = (
        "MEMORY USAGE of the keys of a user, champion and three shadows, ten candidates; a decision's line of the log"
        f" has {fmean(lines):,.0f} bytes"
    )
    return Section("Bytes of a user", how, ["decisions", "models", "decisions", "history", "all"], rows)


def _lines(directory: str) -> list[bytes]:
    return b"".join(file.read_bytes() for file in Path(directory).rglob("*") if file.is_file()).splitlines()


def _sizes(client: "redis.Redis", user: str) -> Mapping[str, int]:
    found = {"models": 0, "decisions": 0, "history": 0}
    ours = {keys.SHARED: "decisions", keys.DECISIONS: "decisions", keys.AGENDA: "decisions", "history": "history"}
    for key in client.scan_iter(keys.of(user, "*")):
        kind = ours.get(keys.kind_of(key.decode() if isinstance(key, bytes) else key), "models")
        found[kind] += int(client.memory_usage(key, samples=0) or 0)
    return {**found, "all": sum(found.values())}
