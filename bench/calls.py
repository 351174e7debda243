"""What a request costs without a clock: calls of Python and C, and opcodes, the same to the last digit in every run.

Raw bytes of HTTP go into the protocol class, and redis-py's connection leads to an in-memory Redis; 16 requests are
served at a time. `USUAL` is a file for each minor version of Python with what was measured last.

  python -m bench.calls            a table beside what is usual
  python -m bench.calls --json     the same for programs
  python -m bench.calls --keep     make what is measured the usual
"""

import gc
import logging
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import Any, Final

import msgspec

from bench.in_memory import Loop, in_memory
from bench.report import Check, Section
from bench.requests import KINDS

__all__ = ["MORE_CALLS", "MORE_OPCODES", "Cost", "Usual", "measured", "section", "usual"]

ROOT: Final = Path(__file__).parent.parent
USUAL: Final = ROOT / "bench" / f"calls-{sys.version_info.major}.{sys.version_info.minor}.json"
# A change may cost so much more than what is usual, in shares of it.
MORE_CALLS: Final = 0.01
MORE_OPCODES: Final = 0.02

# Requests of each kind that are counted, or what is in them; half as many come before.
_COUNTED: Final = 128
_HERE: Final = frozenset({__file__, str(ROOT / "bench" / "in_memory.py")})


class Cost(msgspec.Struct, frozen=True):
    """What one request costs, or one decision or reward of those in it: calls of Python and C, opcodes, bytes that stay
    allocated after its answer, writes to Redis for each batch, and bytes in them.
    """

    calls: float
    opcodes: float
    kept: float
    exchanges: float
    redis_bytes: float


class Usual(msgspec.Struct, frozen=True):
    """What is kept of a Cost: what is the same in every run, and says something of every machine."""

    calls: float
    opcodes: float


class _Counter:
    """Counts calls of Python and C, and opcodes, outside this harness."""

    def __init__(self) -> None:
        self.calls = self.opcodes = 0

    def switch(self, on: bool) -> None:  # noqa: FBT001  # the name says what it means
        """Begin to count, or stop."""
        # Tracing first: to end it is a call too.
        sys.settrace(self._trace if on else None)
        sys.setprofile(self._profile if on else None)

    def _profile(self, frame: FrameType, event: str, _: Any) -> None:
        if event in ("call", "c_call") and frame.f_code.co_filename not in _HERE:
            self.calls += 1

    def _trace(self, frame: FrameType, _: str, __: Any) -> Any:
        if frame.f_code.co_filename in _HERE:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self._opcode

    def _opcode(self, _: FrameType, event: str, __: Any) -> Any:
        if event == "opcode":
            self.opcodes += 1
        return self._opcode


def _kind(name: str) -> Cost:
    kind = KINDS[name]
    with in_memory(kind.at_once) as (loop, ask):
        rounds = _COUNTED // kind.at_once // kind.within
        users = [0 if kind.one_user else user for user in range(kind.at_once)]
        steps = range(rounds // 2 + 3 * rounds)
        if kind.before is not None:
            ask([kind.before(user, step) for user in users] for step in steps)
        wanted = iter([[kind.make(user, step) for user in users] for step in steps])

        def go_on() -> None:
            ask(islice(wanted, rounds))

        ask(islice(wanted, rounds // 2))
        loop.exchanges.clear()
        counter = _Counter()
        _watched(loop, counter, go_on)
        exchanges, sent = len(loop.exchanges) / rounds, sum(loop.exchanges)
        kept = _kept(go_on)
    calls, opcodes = counter.calls / _COUNTED, counter.opcodes / _COUNTED
    return Cost(calls, opcodes, kept / _COUNTED, exchanges, sent / _COUNTED)


def _watched(loop: Loop, counter: _Counter, work: Callable[[], object]) -> None:
    loop.watch = counter.switch
    loop.watching = True
    counter.switch(True)  # noqa: FBT003
    try:
        work()
    finally:
        counter.switch(False)  # noqa: FBT003
        loop.watching = False


def _kept(work: Callable[[], object]) -> int:
    """Bytes that `work` adds to those that the service holds, when it is done for the second time.

    After the first time each connection holds its last request. What the in-memory Redis holds does not count.
    """
    ours = [
        tracemalloc.Filter(inclusive=True, filename_pattern=str(pattern))
        for pattern in (ROOT / "app" / "*", ROOT / "state" / "*", "*/asyncio/*", "*/uvicorn/*", "*/redis/*")
    ]
    gc.collect()
    tracemalloc.start()
    try:
        held = []
        for _ in range(2):
            work()
            gc.collect()
            held.append(sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces(ours).traces))
        return held[1] - held[0]
    finally:
        tracemalloc.stop()


def measured() -> dict[str, Cost]:
    """What each kind of request costs, measured in a process of its own, in which nothing else traces."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("COV", "PYTHON", "OTEL"))}
    done = subprocess.run(
        [sys.executable, "-m", "bench.calls", "--json"],
        cwd=ROOT,
        env={**environ, "PYTHONHASHSEED": "0"},
        stdout=subprocess.PIPE,
        check=True,
    )
    return msgspec.json.decode(done.stdout, type=dict[str, Cost])


def usual() -> dict[str, Usual]:
    """What was measured last with this minor version of Python; nothing if it never was."""
    return msgspec.json.decode(USUAL.read_bytes(), type=dict[str, Usual]) if USUAL.exists() else {}


def _keep(costs: Mapping[str, Cost]) -> None:
    kept = {name: Usual(round(cost.calls, 2), round(cost.opcodes, 2)) for name, cost in costs.items()}
    USUAL.write_bytes(msgspec.json.format(msgspec.json.encode(kept), indent=2) + b"\n")


def section() -> Section:
    """What a request costs, beside what is usual."""
    rows, checks, known = [], [], usual()
    for name, cost in measured().items():
        before = known.get(name, cost)
        rows.append(
            [
                name,
                f"{cost.calls:.2f}",
                f"{cost.opcodes:,.2f}",
                f"{cost.exchanges:.2f}",
                f"{cost.redis_bytes:,.0f}",
                f"{cost.kept:.0f}",
            ]
        )
        checks += [
            Check(f"calls: {name}", cost.calls, before.calls * (1 + MORE_CALLS), ""),
            Check(f"opcodes: {name}", cost.opcodes, before.opcodes * (1 + MORE_OPCODES), ""),
        ]
    how = f"Python {sys.version_info.major}.{sys.version_info.minor}, 16 requests at a time, no clock"
    head = ["", "calls", "opcodes", "writes to Redis of a batch", "bytes to Redis", "bytes kept"]
    return Section("Calls of a request", how, head, rows, checks)


def main(words: Sequence[str]) -> int:
    """Measure in this process, or keep what is measured."""
    if "--keep" in words:
        _keep(measured())
    else:
        logging.disable(logging.WARNING)
        sys.stdout.buffer.write(msgspec.json.encode({name: _kind(name) for name in KINDS}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
