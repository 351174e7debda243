"""One user with tens of thousands of open decisions, whom four replicas serve at once: a busy application.

Windows end while others begin, so that as many decisions are settled as are made. Others stay open throughout.
"""

import time
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import fmean, median
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Final

import msgspec

from bench.measure import Load, Run, Target, again, cpu_seconds, measure
from bench.report import Check, Section, failures
from bench.servers import kept_redis, serving
from state import keys
from tests.support.redis_servers import RedisServer

__all__ = ["large_loop"]

_REPLICAS: Final = 4
_USER: Final = "hot0"  # as load.lua names it
_POLICIES: Final = """
[loops.large]
champion = "egreedy-v1"
window = "5s"
default_reward = 0.0
late = "discard"
open_max = 200_000

[loops.stock]
champion = "egreedy-v1"
window = "1d"
open_max = 200_000
"""
# Decisions that stay open.
_STOCKS: Final = (0, 60_000)
_BATCH: Final = 100
_WARM: Final = 20  # seconds, in which the first windows and their grace are over
_GRACE: Final = 10
_RATE: Final = 1_000  # decisions a second that are wanted
_DECISIONS: Final = 0.8  # of the requests: every fifth one is a reward
_CONNECTIONS: Final = 64  # of each replica; each pauses before a request, and waits for the answer
_SPARE: Final = 1.35  # pauses are so much shorter, for the time of the answers
_FLAT: Final = 1.15
_FLAT_REDIS: Final = 1.3  # a larger sorted set takes more steps, and more misses of the processor's caches


class _Seen(msgspec.Struct, frozen=True):
    """The user at one moment: open decisions, records, their bytes, and decisions that should have been settled."""

    opened: int
    records: int
    bytes: int
    overdue: int


def large_loop(seconds: int) -> list[Section]:
    """Load the user for so many seconds, with few open decisions and with many."""
    found = [_measured(stock, seconds) for stock in _STOCKS]
    header = ["", "decisions/s", "p50 ms", "p99 ms", "errors", "CPU µs", "Redis CPU µs"]
    header += ["open", "records", "MB", "overdue"]
    rows, checks = [], []
    for runs, redis_cpu, seen in found:
        rows.append(_row(runs, redis_cpu, seen))
        checks.append(Check(f"errors: {rows[-1][0]}", float(failures(runs)), 0, ""))
    (few, few_redis, _), (many, many_redis, seen) = found
    checks.append(Check("decisions/s short of 1,000", max(0.0, _RATE - _decisions(many)), _RATE * 0.02, ""))
    checks.append(Check("CPU with many open", _cpu(many) / _cpu(few), _FLAT, "of it with few"))
    checks.append(Check("Redis's CPU with many open", many_redis / few_redis, _FLAT_REDIS, "of it with few"))
    checks.append(Check("settled late, of the open", max(one.overdue for one in seen) / _RATE, 5, "s of decisions"))
    how = (
        f"{_REPLICAS} replicas, {_CONNECTIONS} connections each, {seconds} s; every fifth request is a reward, and"
        " processor time is per request"
    )
    return [Section("One user, a large loop", how, header, rows, checks)]


def _measured(stock: int, seconds: int) -> tuple[list[Run], float, list[_Seen]]:
    """The runs of the replicas, Redis's processor time per request (µs), and how the user was meanwhile."""
    pause = _CONNECTIONS * _REPLICAS / (_SPARE * _RATE / _DECISIONS) * 1e3
    load = Load(
        mode="large", users=1, connections=_CONNECTIONS, seconds=seconds, pace=pause, prefix="hot", loop="large"
    )
    with TemporaryDirectory() as directory, kept_redis() as server, ExitStack() as stack:
        file = Path(directory) / "policies.toml"
        file.write_text(_POLICIES)
        settings = {"POLICIES": str(file), "DECISION_GRACE_SECONDS": str(_GRACE)}
        replicas = [stack.enter_context(serving(server, **settings)) for _ in range(_REPLICAS)]
        _fill(replicas[0], stock)
        _together(replicas, again(load, seconds=_WARM))
        before = cpu_seconds(server.pid)
        with _watched(server) as seen:
            runs = _together(replicas, again(load, seed=50_000_000))
        spent = cpu_seconds(server.pid) - before
    return runs, spent / sum(run.requests for run in runs) * 1e6, seen


def _fill(target: Target, stock: int) -> None:
    """Make so many decisions that stay open."""
    one = {"user_id": _USER, "loop": "stock", "candidates": [{"id": f"t{number}"} for number in range(10)]}
    body = msgspec.json.encode({"decisions": [one] * _BATCH})
    for _ in range(0, stock, _BATCH):
        with urllib.request.urlopen(f"{target.url}/decisions/batch", body, timeout=60) as answer:
            if b'"error"' in answer.read():
                raise SystemExit("a decision was not made")


def _together(replicas: Sequence[Target], load: Load) -> list[Run]:
    """The runs of all replicas at once; each makes decisions of its own."""
    loads = [again(load, seed=load.seed + number * 10_000_000) for number in range(len(replicas))]
    with ThreadPoolExecutor(len(replicas)) as pool:
        return list(pool.map(measure, replicas, loads))


@contextmanager
def _watched(server: RedisServer) -> Iterator[list[_Seen]]:
    """How the user is, once a second while the block runs."""
    seen: list[_Seen] = []
    stop = Event()

    def look() -> None:
        while not stop.wait(1.0):
            opened, records, size = map(int, server.command("HMGET", keys.shared(_USER), "open", "records", "bytes"))
            now = round(time.time() * 1e3)
            overdue = server.command("ZCOUNT", keys.agenda(_USER), "-inf", now)
            seen.append(_Seen(opened, records, size, int(overdue)))

    thread = Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


def _decisions(runs: Sequence[Run]) -> float:
    return sum(run.throughput for run in runs) * _DECISIONS


def _cpu(runs: Sequence[Run]) -> float:
    return sum((run.cpu or 0.0) * run.requests for run in runs) / sum(run.requests for run in runs)


def _row(runs: Sequence[Run], redis_cpu: float, seen: Sequence[_Seen]) -> list[str]:
    return [
        "many open" if min(one.opened for one in seen) >= max(_STOCKS) else "few open",
        f"{_decisions(runs):,.0f}",
        f"{median(run.p50 for run in runs):.1f}",
        f"{max(run.p99 for run in runs):.1f}",
        failures(runs),
        f"{_cpu(runs):,.0f}",
        f"{redis_cpu:,.0f}",
        f"{fmean(one.opened for one in seen):,.0f}",
        f"{fmean(one.records for one in seen):,.0f}",
        f"{fmean(one.bytes for one in seen) / 1e6:,.0f}",
        f"{max(one.overdue for one in seen):,}",
    ]
