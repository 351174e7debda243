"""One measurement: a load by wrk on a server, and what the server's and Redis's processes used meanwhile.

Processor time is read from /proc, before and after, so measuring costs the measured nothing. It comes in ticks of
10 ms: a run of seconds makes that less than a percent.
"""

import os
import platform
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from tests.support.processes import program
from tests.support.waiting import ServerError

__all__ = [
    "Load",
    "Run",
    "Target",
    "again",
    "cpu_seconds",
    "hardware",
    "machine",
    "measure",
    "require",
    "sampled_memory",
    "warm",
]

HERE = Path(__file__).parent
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Target(msgspec.Struct, frozen=True):
    """A server to load: its URL and, where they are known, its process and the one of its Redis."""

    name: str
    url: str
    pid: int | None = None
    redis_pid: int | None = None


class Load(msgspec.Struct, frozen=True):
    """What load.lua sends: its mode, from how many users, over how many connections, for how many seconds. `pace` is
    the mean pause in ms of a connection before each request, 0 for none; the users' names begin with `prefix`, and
    decisions are of `loop`."""

    mode: str = "score"
    users: int = 5_000
    connections: int = 32
    seconds: int = 5
    pace: float = 0.0
    seed: int = 0
    prefix: str = "u"
    loop: str = "tips"


class Run(msgspec.Struct, frozen=True):
    """Figures of one run: processor time in µs per request (None: process unknown), latencies in ms, memory in MB.

    `bad_status` counts answers that were no 2xx, `broken` connections refused, cut or timed out.
    """

    requests: int
    throughput: float
    p50: float
    p99: float
    bad_status: int
    broken: int
    cpu: float | None = None
    redis_cpu: float | None = None
    memory: float | None = None


class _Result(msgspec.Struct, frozen=True):
    requests: int
    seconds: float
    bad_status: int
    broken: int
    p50: int
    p99: int


def require(*names: str) -> None:
    """Exit with one line that names the first of these programs that is not installed."""
    for name in names:
        try:
            program(name)
        except ServerError:
            raise SystemExit(f"{name} is not installed: './dev bench' installs it") from None


def _tree(pid: int) -> Iterator[int]:
    """`pid` and all its descendants."""
    yield pid
    with suppress(FileNotFoundError):  # ended meanwhile
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from _tree(int(child))


def cpu_seconds(pid: int) -> float:
    """Seconds of processor, user and system, that a process tree has used."""
    total = 0
    for each in _tree(pid):
        with suppress(FileNotFoundError):
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
    return total / _TICKS


def _memory(pid: int) -> float:
    """Resident memory of a process tree in MB; what its processes share is counted for each."""
    total = 0
    for each in _tree(pid):
        with suppress(FileNotFoundError):
            total += int(Path(f"/proc/{each}/statm").read_text().split()[1])
    return total * _PAGE / 1e6


def _wrk(url: str, load: Load) -> _Result:
    command = [program("wrk"), "-t1", f"-c{load.connections}", f"-d{load.seconds}s", "--latency", "--timeout", "10s"]
    environ = {"MODE": load.mode, "USERS": str(load.users), "SEED": str(load.seed), "PACE": f"{load.pace:.3f}"}
    environ |= {"PREFIX": load.prefix, "LOOP": load.loop}
    done = subprocess.run(
        [*command, "-s", str(HERE / "load.lua"), url],
        env=os.environ | environ,
        capture_output=True,
        text=True,
        check=False,
    )
    for line in done.stdout.splitlines():
        if line.startswith("RESULT "):
            return msgspec.json.decode(line.removeprefix("RESULT "), type=_Result)
    raise SystemExit(f"wrk on {url} gave no result:\n{done.stdout}{done.stderr}")


def measure(target: Target, load: Load) -> Run:
    """Put `load` on `target` once."""
    pids = (target.pid, target.redis_pid)
    before = [None if pid is None else cpu_seconds(pid) for pid in pids]
    result = _wrk(target.url, load)
    count = max(result.requests, 1)
    cpu, redis_cpu = (
        None if pid is None or start is None else (cpu_seconds(pid) - start) / count * 1e6
        for pid, start in zip(pids, before, strict=True)
    )
    return Run(
        requests=result.requests,
        throughput=result.requests / result.seconds,
        p50=result.p50 / 1e3,
        p99=result.p99 / 1e3,
        bad_status=result.bad_status,
        broken=result.broken,
        cpu=cpu,
        redis_cpu=redis_cpu,
        memory=None if target.pid is None else _memory(target.pid),
    )


def again(load: Load, **changes: object) -> Load:
    """The same load, but for the changes."""
    return msgspec.structs.replace(load, **changes)


def warm(targets: Sequence[Target], load: Load) -> None:
    """Load each target for two seconds that do not count."""
    for target in targets:
        measure(target, again(load, seconds=2))


@contextmanager
def sampled_memory(pid: int, every: float = 1.0) -> Iterator[list[float]]:
    """A list that grows by the resident MB of the tree of `pid` every so many seconds, while the block runs."""
    samples: list[float] = []
    stop = threading.Event()

    def sample() -> None:
        while not stop.wait(every):
            samples.append(_memory(pid))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        stop.set()
        thread.join()


def hardware() -> dict[str, str]:
    """What the figures were measured on: they mean nothing without it."""
    info = Path("/proc/cpuinfo").read_text()
    model = next((line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("model name")), "?")
    return {
        "processor": model,
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def machine() -> dict[str, str]:
    """The hardware, and the Redis beside the service."""
    redis = subprocess.run([program("redis-server"), "--version"], capture_output=True, text=True, check=True).stdout
    return hardware() | {"redis": redis.partition("v=")[2].split()[0]}
