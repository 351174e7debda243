"""The pure decision: state and candidates in, choice out, features included, no I/O. How long does it take?"""

import json
import subprocess
import sys
import time
import timeit
import venv
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

from app.bandit.context import Context, Fields
from app.bandit.policy import Choice, Policy
from app.bandit.ridge import Matrix, Vector
from app.policies.catalog import policies
from bench.report import Check, Section, spread

__all__ = ["alone", "beside_peers", "context", "decide", "guard", "learned", "tasks", "time_of"]

ROOT = Path(__file__).parent.parent
PEERS: Final = ROOT / ".cache" / "peers"
PINS: Final = ("vowpalwabbit==9.11.9", "mabwiser==2.7.4", "numpy==2.4.6")
LIMIT: Final = 30.0  # µs, d=12 and 10 candidates
PROFILE: Final = {
    "completion_rate_30d": 0.4,
    "dismiss_rate_30d": 0.2,
    "mean_dwell_ms_30d": 42_000,
    "preferred_hour": 9,
    "tip_volume_30d": 31,
}


def context(step: int = 0) -> Context:
    """A moment of a user with a profile."""
    return Context({"hour_of_day": step % 24, "day_of_week": step % 7}, PROFILE)


def tasks(count: int, step: int = 0) -> list[Fields]:
    """Different candidates."""
    return [
        {"is_overdue": i % 3 == 0, "task_age_days": float((i * 7 + step) % 31), "priority": (i + step) % 4 + 1}
        for i in range(count)
    ]


def learned(policy: Policy) -> tuple[Matrix, Vector]:
    """A and b after 200 rewards."""
    a, b = policy.prior()
    for step in range(200):
        a, b = policy.learn(a, b, policy.see(context(step), tasks(1, step))[0], ((step % 5) - 2) / 2)
    return a, b


def decide(policy: Policy, a: Matrix, b: Vector, context: Context, candidates: Sequence[Fields]) -> Choice:
    """A decision from fields to choice."""
    return policy.decide(a, b, policy.see(context, candidates), 12345)


def time_of(work: Callable[[], object], repeats: int = 9, seconds: float = 0.05) -> list[float]:
    """µs of processor time per call in each of `repeats` series of about `seconds`."""
    timer = timeit.Timer(work, timer=time.process_time)
    calls = max(1, int(100 * seconds / timer.timeit(100)))
    return [each / calls * 1e6 for each in timer.repeat(repeats, calls)]


def alone() -> list[Section]:
    """Every policy on 10 and on 200 candidates."""
    rows, checks = [], []
    for policy in policies(alpha=1.0, epsilon=0.1).values():
        a, b = learned(policy)
        row = [f"{policy.id}, d={policy.d}"]
        for count in (10, 200):
            took = median(time_of(partial(decide, policy, a, b, context(9), tasks(count))))
            row.append(f"{took:.1f}")
            if (policy.d, count) == (12, 10):
                checks.append(Check("decide, d=12, 10 candidates", took, LIMIT, "µs"))
        rows.append(row)
    how = "Policy.decide, features included, after 200 rewards; medians of nine series"
    return [Section("The pure decision, µs", how, ["policy", "10 candidates", "200 candidates"], rows, checks)]


def beside_peers() -> list[Section]:
    """The same candidates decided by libraries, in an environment of their own under .cache/."""
    policy = policies(alpha=1.0, epsilon=0.1)["egreedy-v2"]
    a, b = learned(policy)
    some = tasks(10)
    x = policy.see(context(9), some)
    took = {
        f"{policy.id}, features included": time_of(lambda: decide(policy, a, b, context(9), some)),
        f"{policy.id}, features ready": time_of(lambda: policy.odds(a, b, x, 12345)),
    }
    done = subprocess.run(
        [_environment(), str(ROOT / "bench" / "peers.py")],
        input=json.dumps(x.tolist()),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"bench/peers.py failed:\n{done.stderr}")
    took |= json.loads(done.stdout)
    rows = [[name, spread(series, 1)] for name, series in took.items()]
    how = (
        f"d={policy.d}, 10 candidates, after 200 rewards, µs: median (least to most) of nine series; {', '.join(PINS)}"
    )
    return [Section("The pure decision beside other libraries", how, ["", "µs"], rows)]


def _environment() -> str:
    """The Python of .cache/peers, made and filled if that did not happen yet."""
    python = PEERS / "bin" / "python"
    stamp = PEERS / "pins"
    if not stamp.exists() or stamp.read_text() != "\n".join(PINS):
        print("installing " + ", ".join(PINS) + " into .cache/peers", file=sys.stderr)
        venv.create(PEERS, with_pip=True, clear=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *PINS], check=True)
        stamp.write_text("\n".join(PINS))
    return str(python)


def guard() -> int:
    """The micro-benchmarks of the numeric core: 0 if none became slower by more than half."""
    words = ["--benchmark-enable", "--benchmark-columns=min,median,iqr,rounds", "--benchmark-sort=name"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "bench/test_core.py", *words], cwd=ROOT, check=False
    ).returncode
